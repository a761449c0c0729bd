from __future__ import annotations

import os
import subprocess
import sys

import pytest

from anomalist.cli.terminal import Device, use_device, use_passive_wait_policy
from anomalist.errors import DetectorError


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


def test_an_asked_device_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALIST_DEVICE", "auto")
    use_device(None)
    assert os.environ["ANOMALIST_DEVICE"] == "auto"
    use_device(Device.cpu)
    assert os.environ["ANOMALIST_DEVICE"] == "cpu"
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DetectorError, match="The device cuda is not there"):
        use_device(Device.cuda)
