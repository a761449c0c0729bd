"""Freed memory is kept where the C library can, and nothing happens where it can't."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from anomalist.vision.features.extractor import keep_freed_memory

COUNT_FAULTS = """
import resource
import numpy as np
from anomalist.vision.features.extractor import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        np.ones(16_000_000, np.float32)  # more than is ever kept by default
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

usual = faults()
keep_freed_memory()
faults()
print(usual, faults())
"""


def no_library(name: None) -> ctypes.CDLL:
    raise OSError("no such library")


def no_null_name(name: None) -> ctypes.CDLL:
    raise TypeError("a library needs a name")


@pytest.mark.parametrize("library", [no_library, no_null_name, lambda name: SimpleNamespace()])
def test_nothing_happens_without_mallopt(
    library: Callable[[None], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", library)
    keep_freed_memory.__wrapped__()


def test_malloc_is_told_once_and_in_numbers_that_fit_into_an_int(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    library = SimpleNamespace(mallopt=lambda name, value: told.append((name, value)))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    keep_freed_memory.cache_clear()
    keep_freed_memory()
    keep_freed_memory()
    keep_freed_memory.cache_clear()  # other tests may want it for real
    assert sorted(name for name, _ in told) == [-3, -1]
    assert all(2**24 < value < 2**31 for _, value in told)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc can be told")
def test_memory_used_again_costs_no_page_faults() -> None:
    reply = subprocess.run([sys.executable, "-c", COUNT_FAULTS], capture_output=True, text=True, check=True)
    usual, kept = (int(count) for count in reply.stdout.split())
    assert usual > 20
    assert kept < 0.2 * usual
