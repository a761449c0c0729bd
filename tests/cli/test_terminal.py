from __future__ import annotations

import os
import subprocess
import sys

import pytest

from anomalist.cli.terminal import use_passive_wait_policy


def test_what_a_person_set_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    use_passive_wait_policy()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    use_passive_wait_policy()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


@pytest.mark.parametrize(
    ("arguments", "asleep"), [(["inspect", "nothing"], True), (["learn", "nothing"], False)]
)
def test_inspecting_waits_asleep_and_learning_does_not(arguments: list[str], asleep: bool) -> None:
    code = (
        "import os, sys\n"
        "from anomalist.cli.app import main\n"
        "assert 'torch' not in sys.modules\n"  # it would be too late to say how its threads wait
        f"sys.argv[1:] = {arguments}\n"
        "try:\n    main()\n"
        "finally:\n    print(os.environ.get('OMP_WAIT_POLICY'))\n"
    )
    env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.split()[-1] == ("PASSIVE" if asleep else "None")
