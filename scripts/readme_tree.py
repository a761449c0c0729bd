"""Print the README's tree: every module with the first line of its docstring."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1] / "src" / "anomalist"


def tree() -> str:
    """The tree as a Markdown code block; a folder's line comes from its ``__init__``."""
    folders = [ROOT, *sorted(path.parent for path in ROOT.glob("*/**/__init__.py"))]
    lines = []
    for folder in folders:
        lines.append(f"{folder.relative_to(ROOT.parent).as_posix()}/")
        modules = sorted(path for path in folder.glob("*.py") if path.stem != "__init__")
        width = max((len(path.name) for path in modules), default=0)
        lines += [f"  {path.name:<{width}}  {_first_line(path)}" for path in modules]
    return "```\n" + "\n".join(lines) + "\n```\n"


def _first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.split("\n")[0].replace("``", "").replace("`", "").rstrip(".")


if __name__ == "__main__":
    print(tree(), end="")
