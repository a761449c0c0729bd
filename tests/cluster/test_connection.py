"""What other machines are told."""

from __future__ import annotations

import pytest

from anomalist.cluster.connection import told_environment


def test_settings_are_told_without_what_may_hold_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MEMORY", "PUBLISH", "WEBHOOK_SECRET", "MQTT_PASSWORD", "MODEL"):
        monkeypatch.setenv(f"ANOMALIST_{name}", "hush")
    told = told_environment()
    assert "ANOMALIST_HOME" in told
    assert [name for name, value in told.items() if value == "hush"] == ["ANOMALIST_MODEL"]
