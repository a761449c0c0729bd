"""Settings from the environment, also as files of variables give them."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomalist.settings import Settings


def test_a_variable_without_a_value_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "AUDIT", "MODEL", "DEVICE", "MEMORY"):
        monkeypatch.setenv(f"ANOMALIST_{name}", "")
    given = Settings()
    for name in ("HOME", "AUDIT", "MODEL", "DEVICE", "MEMORY"):
        monkeypatch.delenv(f"ANOMALIST_{name}")
    assert given == Settings() and given.home != Path()


def test_the_home_may_be_below_that_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ANOMALIST_HOME", "~/anomalist")
    assert Settings().home == tmp_path / "anomalist"
