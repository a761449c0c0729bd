"""What ``import anomalist`` offers, and at what cost."""

from __future__ import annotations

import subprocess
import sys

import pytest

import anomalist


@pytest.mark.parametrize("name", anomalist.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(anomalist, name) is not None
    assert name in dir(anomalist)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        anomalist.nonsense  # noqa: B018


def test_importing_the_package_imports_none_of_its_modules() -> None:
    code = "import sys, anomalist; print([n for n in sys.modules if n.startswith('anomalist.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
