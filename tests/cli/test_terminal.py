from __future__ import annotations

import os
import subprocess
import sys

import pytest

from anomalist.cli.terminal import Device, limit_threads, use_device
from anomalist.errors import DetectorError


@pytest.mark.parametrize(("name", "ours"), [("OMP_WAIT_POLICY", "PASSIVE"), ("OPENBLAS_NUM_THREADS", "1")])
def test_what_a_person_set_is_kept(monkeypatch: pytest.MonkeyPatch, name: str, ours: str) -> None:
    monkeypatch.setenv(name, "7")
    limit_threads()
    assert os.environ[name] == "7"
    monkeypatch.delenv(name)
    limit_threads()
    assert os.environ[name] == ours


@pytest.mark.parametrize(
    "arguments",
    [["inspect", "nothing"], ["learn", "nothing", "--profile", "n"], ["eval", "captions", "nothing"]],
)
def test_threads_wait_asleep_and_linear_algebra_has_one(arguments: list[str]) -> None:
    """Of each OpenBLAS with threads of its own: numpy and scipy have one, that of faiss uses OpenMP's."""
    code = (
        "import os, sys\n"
        "from anomalist.cli.app import main\n"
        "assert not {'numpy', 'torch'} & sys.modules.keys()\n"  # it would be too late for their threads
        f"sys.argv[1:] = {arguments}\n"
        "try:\n    main()\n"
        "finally:\n"
        "    import numpy, scipy.linalg\n"
        "    from threadpoolctl import threadpool_info\n"
        "    blas = [each for each in threadpool_info() if each.get('threading_layer') == 'pthreads']\n"
        "    print(os.environ.get('OMP_WAIT_POLICY'), {each['num_threads'] for each in blas}, len(blas))\n"
    )
    ours = ("OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
    env = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    wait, threads, count = done.stdout.split()[-3:]
    assert (wait, threads) == ("PASSIVE", "{1}")
    assert int(count) >= 2


def test_an_asked_device_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALIST_DEVICE", "auto")
    use_device(None)
    assert os.environ["ANOMALIST_DEVICE"] == "auto"
    use_device(Device.cpu)
    assert os.environ["ANOMALIST_DEVICE"] == "cpu"
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DetectorError, match="The device cuda is not there"):
        use_device(Device.cuda)
