"""A DINOv2 with two thin layers of random weights, for tests in which what pictures show matters little.

Its folder looks like that of the published one and the same code loads and runs it, some twenty times faster.
"""

from __future__ import annotations

import json
from pathlib import Path

WIDTH, DEPTH, PATCH = 32, 3, 14


def save_tiny_dinov2(folder: Path) -> Path:
    """Save the network, the same each time, and return its folder."""
    import torch
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=2,
        mlp_ratio=1,
        patch_size=PATCH,
        image_size=16 * PATCH,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Dinov2Model(config).save_pretrained(folder)
    statistics = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    (folder / "preprocessor_config.json").write_text(json.dumps(statistics))
    return folder
