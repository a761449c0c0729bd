"""Checkpoints of training: tensors only, written whole or not at all, and refused by another recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from anomalist.vision.weights import part_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def save_checkpoint(
    path: Path, recipe: DataclassInstance, counts: Mapping[str, int], tensors: Mapping[str, torch.Tensor]
) -> None:
    """Write the tensors and counts of a training by ``recipe``."""
    from safetensors.torch import save_file

    part = path.with_suffix(".part")
    contiguous = {k: v.detach().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}
    metadata = {name: str(count) for name, count in counts.items()}
    save_file(contiguous, part, metadata | {"recipe": json.dumps(asdict(recipe))})
    part.replace(path)


def load_checkpoint(path: Path, recipe: DataclassInstance) -> tuple[dict[str, int], dict[str, torch.Tensor]]:
    """Return counts and tensors; ValueError when they are of another recipe."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        written = metadata.pop("recipe")
        if json.loads(written) != json.loads(json.dumps(asdict(recipe))):
            raise ValueError(f"{path} belongs to another recipe: {written}")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    return {name: int(count) for name, count in metadata.items()}, tensors


def moments_of(optimiser: torch.optim.Optimizer, prefix: str) -> dict[str, torch.Tensor]:
    """What an optimiser remembers of each parameter, by names that begin with ``prefix``."""
    states = optimiser.state_dict()["state"].items()
    return {f"{prefix}{index}.{k}": v for index, state in states for k, v in state.items()}


def restore_moments(
    optimiser: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], prefix: str
) -> None:
    """Give an optimiser back what `moments_of` took."""
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in part_of(dict(tensors), prefix).items():
        index, key = name.split(".", 1)
        moments.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})


@torch.no_grad()
def update_average(average: dict[str, torch.Tensor], network: Any, decay: float) -> None:  # noqa: ANN401
    """Move averaged weights towards those of a network; what isn't a fraction is copied."""
    for name, value in network.state_dict().items():
        if value.dtype.is_floating_point:
            average[name].lerp_(value, 1 - decay)
        else:
            average[name].copy_(value)
