"""Encode the example phrasings of intents once, and fit a linear classifier to them.

    python scripts/build_intents.py

Run it after every change of ``agent/asking/intents.toml``; a test says when it was forgotten.
"""

from __future__ import annotations

import numpy as np
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression

from anomalist.agent.asking.intents import CLASSIFIER_FILE, examples, intents
from anomalist.memory.embedding import ENCODER_NAME, load_encoder

INVERSE_PENALTY = 20.0


def main() -> None:
    """Write vectors (float16), weights and offsets, with the hash of the texts."""
    texts, owners, digest = examples(intents())
    vectors = load_encoder().encode(texts)
    fitted = LogisticRegression(C=INVERSE_PENALTY, max_iter=2000, class_weight="balanced")
    fitted.fit(vectors, np.array(owners))
    arrays = {
        "vectors": vectors.astype(np.float16),
        "weights": np.ascontiguousarray(fitted.coef_, np.float32),  # saved as it lies in memory
        "offsets": np.ascontiguousarray(fitted.intercept_, np.float32),
    }
    save_file(arrays, CLASSIFIER_FILE, {"texts": digest, "encoder": ENCODER_NAME})
    print(f"{CLASSIFIER_FILE.name}: {len(texts)} phrasings of {len(fitted.classes_)} intents")


if __name__ == "__main__":
    main()
