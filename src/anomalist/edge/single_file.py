"""The runner as one file: its modules joined, in the order of their imports, without those of each other."""

from __future__ import annotations

import ast
from importlib.resources import files

_PACKAGE = "anomalist.edge.runner"
PARTS = (
    "anomalist.vision.shift.arithmetic",
    "anomalist.vision.resampling",
    "anomalist.vision.conformal",
    *(
        f"{_PACKAGE}.{part}"
        for part in ("kernels", "reading", "registration", "inputs", "networks", "detectors", "running")
    ),
)
"""Modules of the runner, each after those that it imports."""
_HEAD = '''"""Gives pictures their label, without the package that the profile was learned with.

Usage: python run.py PICTURE… [--json]. Needs numpy, Pillow and onnxruntime. Written by anomalist export.
"""

from __future__ import annotations

'''


def runner_source() -> str:
    """Python source of the runner, which imports numpy, Pillow, onnxruntime and the standard library alone.

    Raises RuntimeError when two modules define the same name, or one is imported before it is there.
    """
    plain: set[str] = set()
    named: dict[str, set[str]] = {}
    bodies: list[str] = []
    defined: set[str] = set()
    for part in PARTS:
        package, _, module = part.rpartition(".")
        source = (files(package) / f"{module}.py").read_text(encoding="utf-8")
        tree = ast.parse(source)
        last = 0
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                _check_import(node, defined)
                if isinstance(node, ast.Import):
                    plain.add(ast.unparse(node))
                elif not _is_own(node) and not _is_future(node):
                    named.setdefault(node.module or "", set()).update(map(ast.unparse, node.names))
                last = node.end_lineno or 0
        own = _names(tree)
        if own & defined:
            raise RuntimeError(f"{part} defines {min(own & defined)} again")
        defined |= own
        bodies.append("\n".join(source.splitlines()[last:]).strip())
    chosen = (f"from {module} import {', '.join(sorted(names))}" for module, names in named.items())
    return _HEAD + "\n".join([*sorted(plain), *sorted(chosen)]) + "\n\n" + "\n\n\n".join(bodies) + "\n"


def _is_own(node: ast.Import | ast.ImportFrom) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module in PARTS


def _is_future(node: ast.Import | ast.ImportFrom) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _check_import(node: ast.Import | ast.ImportFrom, defined: set[str]) -> None:
    if _is_own(node) and (missing := {alias.name for alias in node.names} - defined):
        raise RuntimeError(f"{min(missing)} is imported before it is defined")


def _names(tree: ast.Module) -> set[str]:
    """Names that a module defines at its top level."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            targets = [each for target in node.targets for each in ast.walk(target)]
            found |= {each.id for each in targets if isinstance(each, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found
