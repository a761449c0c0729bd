"""Make the weights of the embedded network again: ``python scripts/pretrain.py OUT.safetensors``.

Interrupt it when you like; the same command goes on from the checkpoint beside OUT. A second process draws
the surfaces while this one trains.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import queue
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

from anomalist.vision.pretraining import Recipe, batches, pretrain
from anomalist.vision.training import Views

if TYPE_CHECKING:
    from anomalist.types import BoolArray, UInt8Array

    Drawn = multiprocessing.Queue[tuple[UInt8Array, UInt8Array, BoolArray]]


def _produce(drawn: Drawn, recipe: Recipe, start: int) -> None:
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for batch in batches(recipe, start):
        drawn.put((batch.views, batch.labels, batch.alone))


def in_background(recipe: Recipe, start: int) -> Iterator[Views]:
    """Yield the same batches as `batches`, drawn by another process."""
    if start == recipe.steps:  # finished before: nothing to draw
        return
    context = multiprocessing.get_context("spawn")
    drawn: Drawn = context.Queue(maxsize=8)
    producer = context.Process(target=_produce, args=(drawn, recipe, start), daemon=True)
    producer.start()
    for _ in range(start, recipe.steps):
        yield Views(*_next(drawn, producer))
    producer.join()


def _next(
    drawn: Drawn, producer: multiprocessing.process.BaseProcess
) -> tuple[UInt8Array, UInt8Array, BoolArray]:
    while True:
        try:
            return drawn.get(timeout=30)
        except queue.Empty:  # the first batch waits for a whole pool of surfaces
            if not producer.is_alive():
                raise RuntimeError(
                    "the process that draws the surfaces has ended; see its error above"
                ) from None


def main() -> None:
    """Train, then write the averaged weights in half precision with their recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--pool", type=int, default=Recipe.pool, help="products alive at a time")
    parser.add_argument("--without", nargs="*", default=[], help="families of surfaces to leave out")
    options = parser.parse_args()
    recipe = Recipe(steps=options.steps, pool=options.pool, without=tuple(options.without))
    began = time.time()

    def report(step: int, loss: float) -> None:
        print(f"step {step}/{recipe.steps}  loss {loss:.4f}  {time.time() - began:.0f} s", flush=True)

    weights = pretrain(recipe, options.out.with_suffix(".checkpoint"), in_background, report)
    tensors = {k: v.half() if v.dtype.is_floating_point else v for k, v in weights.items()}
    tensors = {k: v.clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}
    save_file(tensors, options.out, {"recipe": json.dumps(asdict(recipe)), "licence": "Apache-2.0"})


if __name__ == "__main__":
    main()
