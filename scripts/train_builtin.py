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

from anomalist.agent.builtin.architecture import END, PAD, make_processor, save_model
from anomalist.agent.builtin.lessons import Recipe, batches, steps_of, vocabulary
from anomalist.agent.builtin.packing import Batch
from anomalist.agent.builtin.tempering import drawn_questions, soften, temperature
from anomalist.agent.builtin.training import train
from anomalist.agent.local import open_local
from anomalist.vision.background import in_background

_TEMPERED_ON = 400
"""Pictures that the temperature is found on."""


def drawn(recipe: Recipe, tokenizer: Path, start: int) -> Iterator[Batch]:
    """Yield the batches of a recipe, with a saved tokenizer, opened by the process that draws."""
    return batches(recipe, PreTrainedTokenizerFast.from_pretrained(tokenizer), start)


def main() -> None:
    """Train the tokenizer, then the network; save both as transformers does, with the recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--eye-steps", type=int, default=Recipe.eye_steps)
    parser.add_argument("--letter-steps", type=int, default=Recipe.letter_steps)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    options = parser.parse_args()
    recipe = Recipe(eye_steps=options.eye_steps, letter_steps=options.letter_steps, steps=options.steps)
    torch.set_num_threads(os.cpu_count() or 1)  # hyperthreads too, which torch leaves out
    folder: Path = options.folder
    words = folder.with_suffix(".tokenizer")
    if not words.is_dir():
        vocabulary(recipe).save_pretrained(words)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(words)
    began = time.time()

    def report(step: int, words: float, eye: float) -> None:
        losses = f"words {words:.4f}  eye {eye:.4f}"
        print(f"step {step}/{steps_of(recipe)}  {losses}  {time.time() - began:.0f} s", flush=True)

    network = train(
        recipe,
        tokenizer,
        folder.with_suffix(".checkpoint"),
        lambda start: in_background(drawn, recipe, words, start, ahead=12),
        report,
        fuse=any(shutil.which(compiler) for compiler in ("g++", "clang++")),
    )
    tokenizer = PreTrainedTokenizerFast.from_pretrained(words, eos_token=END, pad_token=PAD)
    processor = make_processor(tokenizer)
    save_model(folder, network, processor)
    warmth = temperature(open_local(str(folder)), drawn_questions(_TEMPERED_ON, recipe.seed), recipe.seed)
    print(f"temperature {warmth:.3f}")
    soften(network, warmth)
    save_model(folder, network, processor)
    (folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")


if __name__ == "__main__":
    main()
