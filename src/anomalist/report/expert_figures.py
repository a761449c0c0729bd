"""Figures of the maps of an ensemble's experts, with what each says in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from anomalist.report.figures import SMALL_SIDE, Figure, encode_figure, resolve_inside
from anomalist.storage.run_folder import expert_maps_file
from anomalist.types.image import Record

_EXPERT_LOW, _EXPERT_HIGH = -4.0, 6.0  # colour range of experts' maps, standard deviations


def expert_figures(record: Record, folder: Path) -> tuple[tuple[str, Figure], ...]:
    """Draw the map of each expert of an ensemble, with what it says in words; those that are kept."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if record.map is None or not record.experts:
        return ()
    try:
        maps = load(resolve_inside(folder, expert_maps_file(record.map)).read_bytes())
    except (OSError, ValueError, SafetensorError):  # the anomaly map itself says what is missing
        return ()
    return draw_expert_maps(record, maps)


def draw_expert_maps(record: Record, maps: Mapping[str, np.ndarray]) -> tuple[tuple[str, Figure], ...]:
    """Draw the maps of the experts of an ensemble, by name, with what each says in words."""
    from anomalist.vision.drawing import heatmap

    drawn = []
    for expert in record.experts:
        if expert.name in maps:
            own = maps[expert.name].astype(np.float32)
            side = "above" if expert.score >= 0 else "below"
            words = f"{expert.name}: {abs(expert.score):.1f}\u00a0σ {side} normal, "
            words += f"weight {100 * expert.weight:.0f}\u00a0%"
            picture = heatmap(None, own, _EXPERT_LOW, _EXPERT_HIGH, max_side=SMALL_SIDE)
            drawn.append((words, encode_figure(picture)))
    return tuple(drawn)
