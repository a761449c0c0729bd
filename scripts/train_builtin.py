"""Train the small vision-language model: ``python scripts/train_builtin.py FOLDER``.

Interrupt it when you like; the same command goes on from the checkpoint beside FOLDER. A second process draws
what is learned from while this one trains.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast

from anomalist.agent.models.local import open_local
from anomalist.training.small_model.architecture import PAD_TOKEN, make_processor, save_model
from anomalist.training.small_model.curriculum import (
    Batch,
    SmallModelRecipe,
    curriculum_batches,
    total_steps,
    train_recipe_tokenizer,
)
from anomalist.training.small_model.documents import END_TOKEN
from anomalist.training.small_model.training import (
    apply_temperature,
    draw_graded_questions,
    fit_temperature,
    train,
)
from anomalist.vision.prefetch import prefetch_in_process

_TEMPERED_ON = 400
"""Pictures that the temperature is found on."""


def drawn(recipe: SmallModelRecipe, tokenizer: Path, start: int) -> Iterator[Batch]:
    """Yield the batches of a recipe, with a saved tokenizer, opened by the process that draws."""
    return curriculum_batches(recipe, PreTrainedTokenizerFast.from_pretrained(tokenizer), start)


def main() -> None:
    """Train the tokenizer, then the network; save both as transformers does, with the recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--eye-steps", type=int, default=SmallModelRecipe.eye_steps)
    parser.add_argument("--letter-steps", type=int, default=SmallModelRecipe.letter_steps)
    parser.add_argument("--steps", type=int, default=SmallModelRecipe.steps)
    options = parser.parse_args()
    recipe = SmallModelRecipe(
        eye_steps=options.eye_steps, letter_steps=options.letter_steps, steps=options.steps
    )
    torch.set_num_threads(os.cpu_count() or 1)  # hyperthreads too, which torch leaves out
    folder: Path = options.folder
    words = folder.with_suffix(".tokenizer")
    if not words.is_dir():
        train_recipe_tokenizer(recipe).save_pretrained(words)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(words)
    began = time.time()

    def report(step: int, words: float, eye: float) -> None:
        losses = f"words {words:.4f}  eye {eye:.4f}"
        print(f"step {step}/{total_steps(recipe)}  {losses}  {time.time() - began:.0f} s", flush=True)

    network = train(
        recipe,
        tokenizer,
        folder.with_suffix(".checkpoint"),
        lambda start: prefetch_in_process(drawn, recipe, words, start, ahead=12),
        report,
        fuse=any(shutil.which(compiler) for compiler in ("g++", "clang++")),
    )
    tokenizer = PreTrainedTokenizerFast.from_pretrained(words, eos_token=END_TOKEN, pad_token=PAD_TOKEN)
    processor = make_processor(tokenizer)
    save_model(folder, network, processor)
    softmax_temperature = fit_temperature(
        open_local(str(folder)), draw_graded_questions(_TEMPERED_ON, recipe.seed), recipe.seed
    )
    print(f"temperature {softmax_temperature:.3f}")
    apply_temperature(network, softmax_temperature)
    save_model(folder, network, processor)
    (folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")


if __name__ == "__main__":
    main()
