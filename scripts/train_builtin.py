"""Train the small vision-language model: ``python scripts/train_builtin.py FOLDER``.

When interrupted, the same command resumes from the checkpoint beside FOLDER.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from anomalist.training.small_model.curriculum import SmallModelRecipe, total_steps
from anomalist.training.small_model.training import make_model


def main() -> None:
    """Train the tokenizer, then the network; save both as transformers does, with the recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--eye-steps", type=int, default=SmallModelRecipe.eye_steps, help="vision encoder")
    parser.add_argument("--letter-steps", type=int, default=SmallModelRecipe.letter_steps, help="text alone")
    parser.add_argument("--steps", type=int, default=SmallModelRecipe.steps, help="both")
    options = parser.parse_args()
    recipe = SmallModelRecipe(
        eye_steps=options.eye_steps, letter_steps=options.letter_steps, steps=options.steps
    )
    began = time.time()

    def report(step: int, language: float, vision: float) -> None:
        losses = f"language {language:.4f}  vision {vision:.4f}"
        print(f"step {step}/{total_steps(recipe)}  {losses}  {time.time() - began:.0f} s", flush=True)

    print(f"temperature {make_model(options.folder, recipe, report):.3f}")


if __name__ == "__main__":
    main()
