"""What the tests of memory share: the real sentence encoder, read once."""

from __future__ import annotations

import pytest

from anomalist.memory.embedding import SentenceEncoder, load_encoder


@pytest.fixture(scope="session")
def encoder() -> SentenceEncoder:
    return load_encoder()
