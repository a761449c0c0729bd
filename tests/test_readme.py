from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tree_shows_every_module_as_it_is() -> None:
    script = ROOT / "scripts" / "readme_tree.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout in README, "run scripts/readme_tree.py and put its output into README.md"


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


@pytest.mark.parametrize("option", sorted(set(re.findall(r"--[a-z][a-z-]+", README)) - {"--install"}))
def test_options_that_the_readme_names_exist(option: str) -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    name = option.removeprefix("--").replace("-", "_")
    assert f'"{option}"' in sources or re.search(rf"^    {name}: ", sources, re.MULTILINE)
