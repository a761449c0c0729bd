"""Make the weights of SurfaceNet again: ``python scripts/pretrain.py OUT.safetensors``.

When interrupted, the same command resumes from the checkpoint beside OUT. Surfaces are drawn in a second
process.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from anomalist.training.pretraining import PretrainingRecipe, pretrain, save_weights, view_batches
from anomalist.vision.prefetch import prefetch_in_process


def main() -> None:
    """Train, then write the averaged weights in half precision with their recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=PretrainingRecipe.steps)
    parser.add_argument("--warmup", type=int, default=PretrainingRecipe.warmup)
    parser.add_argument("--pool", type=int, default=PretrainingRecipe.pool, help="products in the pool")
    parser.add_argument("--seed", type=int, default=PretrainingRecipe.seed)
    parser.add_argument("--without", nargs="*", default=[], help="texture families to leave out")
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

    weights = pretrain(
        recipe,
        options.out.with_suffix(".checkpoint"),
        lambda recipe, start: prefetch_in_process(view_batches, recipe, start, depth=8),
        report,
    )
    save_weights(options.out, recipe, weights)


if __name__ == "__main__":
    main()
