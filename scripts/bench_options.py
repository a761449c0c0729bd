"""Measure multiple choice on one picture, together against one by one: ``python scripts/bench_options.py``.

A model of the shape of Qwen2.5-VL with random weights answers five questions on a picture of 576 tokens, each
with its four options in every rotation: once with what they share read once, once each from its first token.
Also measured: how fast it writes, and how much memory it takes. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from langchain_core.messages import BaseMessage, HumanMessage
from random_models import save_qwen

from anomalist.agent.choice.model_choice import MultipleChoiceQuestion, choose_each_by_model
from anomalist.agent.models.chat_inputs import prepare_inputs
from anomalist.agent.models.local import LocalChatModel, open_local
from anomalist.agent.models.structured import image_block

T = TypeVar("T")

SIDE = 672
"""Pixels: 24 × 24 = 576 tokens."""

QUESTIONS = {
    "What kind of defect is there?": ("scratch", "crack", "dent", "stain"),
    "Where is the crack?": ("left edge", "right edge", "border", "picture"),
    "What is darker?": ("tile", "stain", "border", "dent"),
    "Is there a dent on the tile?": ("the left edge", "only a stain", "a crack", "a scratch"),
    "What defect is on the border?": ("stain", "dent", "crack", "scratch"),
}

SHAPES = {
    # about 80 million parameters
    "mid": (
        {
            "hidden_size": 768,
            "intermediate_size": 2048,
            "num_hidden_layers": 10,
            "num_attention_heads": 12,
            "num_key_value_heads": 4,
        },
        {"depth": 6, "hidden_size": 384, "intermediate_size": 1024, "num_heads": 6},
    ),
    # that of Qwen2.5-VL-3B
    "3b": (
        {
            "hidden_size": 2048,
            "intermediate_size": 11008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "vocab_size": 151936,
        },
        {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16},
    ),
}


class Recorder:
    """In place of a model: keeps what it is asked, so that the same can be asked in two ways."""

    def __init__(self) -> None:
        self.asked: list[Sequence[BaseMessage]] = []

    def option_logprobs(
        self, messages_list: Sequence[Sequence[BaseMessage]], letters: Sequence[str]
    ) -> list[list[float]]:
        """Find all options as probable."""
        self.asked = list(messages_list)
        return [[0.0] * len(letters) for _ in messages_list]


def timed(work: Callable[[], T], repeats: int) -> tuple[float, T]:
    """Return the median of the seconds that it takes, and what came of it.

    Without a GPU these are seconds of work of one thread: what else runs on the machine doesn't count.
    """
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    seconds = []
    for _ in range(repeats):
        begun = clock()
        result = work()
        seconds.append(clock() - begun)
    return statistics.median(seconds), result


def measure(model: LocalChatModel, repeats: int) -> dict[str, object]:
    """Run the comparison."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    picture = image_block(pixels)
    questions = [
        MultipleChoiceQuestion([HumanMessage(content=[picture, {"type": "text", "text": text}])], options)
        for text, options in QUESTIONS.items()
    ]
    recorder = Recorder()
    choose_each_by_model(recorder, questions, seed=0)  # type: ignore[arg-type]
    asked = recorder.asked

    model.option_logprobs(asked[:1], "ABCD")  # the first call of all is slower
    shared, together = timed(lambda: model.option_logprobs(asked, "ABCD"), repeats)
    scratch, one_by_one = timed(
        lambda: [model.option_logprobs([messages], "ABCD")[0] for messages in asked], repeats
    )

    prompts = [prepare_inputs(model.processor, messages) for messages in asked]
    tokens = prompts[0].inputs["input_ids"][0].tolist()
    picture_tokens = tokens.count(model.network.config.image_token_id)
    written = 64
    writing, _ = timed(lambda: model.invoke(asked[0], max_tokens=written), repeats)
    reading, _ = timed(lambda: model.invoke(asked[0], max_tokens=1), repeats)
    return {
        "prompts": len(asked),
        "picture_tokens": picture_tokens,
        "question_tokens_at_most": max(prompt.length for prompt in prompts) - picture_tokens,
        "one_by_one_s": round(scratch, 3),
        "together_s": round(shared, 3),
        "times_faster": round(scratch / shared, 2),
        "largest_difference": float(np.abs(np.subtract(together, one_by_one)).max()),
        "spread": float(np.ptp(together, axis=0).max()),
        "tokens_per_s": round((written - 1) / max(writing - reading, 1e-9), 1),
        "pictures_per_min": round(60 / writing, 1),
    }


def main() -> None:
    """Build, open, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="mid")
    parser.add_argument("--dtype", default="float32", help="of the saved weights")
    parser.add_argument("--quantisation", choices=("nf4", "int8"))
    parser.add_argument("--repeats", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    text, vision = SHAPES[asked.shape]
    with tempfile.TemporaryDirectory() as folder:
        save_qwen(Path(folder), text=text, vision=vision, max_pixels=SIDE * SIDE, dtype=asked.dtype)
        model = open_local(folder, quantisation=asked.quantisation)
        on_gpu = model.network.device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        measured = measure(model, asked.repeats)
    peak = torch.cuda.max_memory_allocated() / 1e6 if on_gpu else 0.0
    about = {
        "shape": asked.shape,
        "parameters_m": round(model.network.num_parameters() / 1e6),
        "dtype": model.dtype,
        "quantisation": asked.quantisation,
        "device": torch.cuda.get_device_name() if on_gpu else "cpu, one thread",
        "peak_memory_mb": round(peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
    }
    print(json.dumps(about | measured))


if __name__ == "__main__":
    main()
