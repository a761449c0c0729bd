"""Make the weights of the embedded network again: ``python scripts/pretrain.py OUT.safetensors``.

Interrupt it when you like; the same command goes on from the checkpoint beside OUT. A second process draws
the surfaces while this one trains.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import save_file

from anomalist.training.pretraining import PretrainingRecipe, pretrain, view_batches
from anomalist.vision.detectors.pretext import ViewBatch
from anomalist.vision.prefetch import prefetch_in_process


def drawn(recipe: PretrainingRecipe, start: int) -> Iterator[ViewBatch]:
    """Yield the same batches as `view_batches`, drawn by another process."""
    return islice(prefetch_in_process(view_batches, recipe, start, ahead=8), recipe.steps - start)


def main() -> None:
    """Train, then write the averaged weights in half precision with their recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=PretrainingRecipe.steps)
    parser.add_argument("--warmup", type=int, default=PretrainingRecipe.warmup)
    parser.add_argument("--pool", type=int, default=PretrainingRecipe.pool, help="products alive at a time")
    parser.add_argument("--seed", type=int, default=PretrainingRecipe.seed)
    parser.add_argument("--without", nargs="*", default=[], help="families of surfaces to leave out")
    options = parser.parse_args()
    recipe = PretrainingRecipe(
        steps=options.steps,
        warmup=options.warmup,
        pool=options.pool,
        seed=options.seed,
        without=tuple(options.without),
    )
    began = time.time()

    def report(step: int, loss: float) -> None:
        print(f"step {step}/{recipe.steps}  loss {loss:.4f}  {time.time() - began:.0f} s", flush=True)

    weights = pretrain(recipe, options.out.with_suffix(".checkpoint"), drawn, report)
    tensors = {k: v.half() if v.dtype.is_floating_point else v for k, v in weights.items()}
    tensors = {k: v.clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}
    save_file(tensors, options.out, {"recipe": json.dumps(asdict(recipe)), "licence": "Apache-2.0"})


if __name__ == "__main__":
    main()
