"""Unnamed findings that are alike become groups with a proposed name."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.memory.cases import Case
from anomalist.memory.ranking import NovelKind, novel_kinds
from tests.memory.scenes.scene_cases import unit


def case(number: int, text: str, kind: str | None = None, action: str = "escalate") -> Case:
    values = {"id": f"case:{number}", "created": "2026-01-01T00:00:00+00:00", "who": "Ines", "text": text}
    more = {"action": action, "media": "picture", "source": "a.png", "kind": kind}
    return Case.model_validate({**values, **more})


def around(centre: int, count: int, seed: int) -> np.ndarray:
    noise = unit(np.random.default_rng(seed), count, 16) * np.float32(0.3)
    vectors = np.eye(16, dtype=np.float32)[centre] + noise
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def grouped(kinds: tuple[NovelKind, ...]) -> list[set[str]]:
    return [set(kind.cases) for kind in kinds]


def test_like_findings_are_grouped_and_named_by_shared_words() -> None:
    cases = [case(n, f"a rusty stain near the bolt, number {n}") for n in range(1, 5)]
    cases += [case(n, "a bent bracket") for n in range(5, 8)] + [case(8, "alone")]
    vectors = np.concatenate([around(0, 4, 1), around(1, 3, 2), around(2, 1, 3)])
    found = novel_kinds(cases, vectors)
    assert grouped(found) == [{f"case:{n}" for n in range(1, 5)}, {f"case:{n}" for n in range(5, 8)}]
    assert found[0].name in {"rusty stain", "rusty bolt", "stain bolt"}
    assert found[1].name == "bent bracket"
    assert found[0].like is None
    assert 0.6 <= found[0].likeness <= 1


def test_a_named_case_lends_its_name() -> None:
    cases = [case(1, "x"), case(2, "y"), case(3, "z", kind="line"), case(4, "w", kind="spot")]
    vectors = np.concatenate([around(0, 3, 1), around(5, 1, 2)])
    (found,) = novel_kinds(cases, vectors)
    assert (found.name, found.like, set(found.cases)) == ("line", "case:3", {"case:1", "case:2"})


def test_what_was_dismissed_or_is_fine_is_no_kind() -> None:
    cases = [case(n, "glare", action="dismissed") for n in (1, 2)]
    assert novel_kinds(cases, around(0, 2, 1)) == ()
    fine = [case(n, "glare", action="corrected").replace(severity=0) for n in (1, 2)]
    assert novel_kinds(fine, around(0, 2, 1)) == ()
    assert novel_kinds([], np.empty((0, 0), np.float32)) == ()
    with pytest.raises(ValueError, match="got 2 cases and 1 vectors"):
        novel_kinds(cases, around(0, 1, 1))
