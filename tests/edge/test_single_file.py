"""The runner of one file imports what it needs, and nothing else."""

from __future__ import annotations

import ast
import sys

from anomalist.edge.single_file import runner_source


def test_it_imports_numpy_pillow_and_onnxruntime_alone() -> None:
    tree = ast.parse(runner_source())
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add((node.module or "").split(".")[0])
    assert modules - set(sys.stdlib_module_names) == {"numpy", "PIL", "onnxruntime"}


def test_every_name_is_defined_once() -> None:
    tree = ast.parse(runner_source())
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert len(names) == len(set(names))
    assert {"Runner", "main", "PictureError", "ExportError"} <= set(names)
