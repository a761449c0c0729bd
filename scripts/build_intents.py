"""Encode the example phrasings of intents once, so that the first question is answered at once.

    python scripts/build_intents.py

Run it after every change of ``agent/asking/intents.toml``; a test says when it was forgotten.
"""

from __future__ import annotations

import numpy as np
from safetensors.numpy import save_file

from anomalist.agent.asking.intents import VECTORS, examples, intents
from anomalist.memory.embedding import NAME, load_encoder


def main() -> None:
    """Write the vectors of all examples, float16, with the hash of the texts."""
    texts, digest = examples(intents())
    vectors = load_encoder().encode(texts).astype(np.float16)
    save_file({"vectors": vectors}, VECTORS, {"texts": digest, "encoder": NAME})
    print(f"{VECTORS}: {len(texts)} phrasings")


if __name__ == "__main__":
    main()
