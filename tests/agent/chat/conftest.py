"""One picture, three pictures, and a file of conversations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from anomalist.agent.chat.conversations import Conversations
from anomalist.agent.tools.subject import Subject
from tests.agent.chat.subjects import inspected, subject_of


@pytest.fixture
def one(tmp_path: Path) -> Subject:
    return subject_of([inspected(tmp_path / "part.png")])


@pytest.fixture
def three(tmp_path: Path) -> Subject:
    return subject_of(
        [
            inspected(tmp_path / "holed.png", 0.01),
            inspected(tmp_path / "plain.png", 0.6, regions=0),
            inspected(tmp_path / "worse.png", 0.02, regions=2),
        ]
    )


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Conversations]:
    with Conversations(tmp_path / "kept" / "conversations.sqlite") as conversations:
        yield conversations
