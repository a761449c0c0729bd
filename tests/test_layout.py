"""The shape of the package: one direction of imports, sizes that can be read, one name for one thing."""

from __future__ import annotations

import ast
import statistics
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent / "src" / "anomalist"

LAYERS = (
    {"errors", "settings", "plugins"},
    {"types"},
    {"storage"},
    {"vision"},
    {"memory"},
    {"prompts"},
    {"agent", "querying"},
    {"records"},
    {"composition", "pipeline", "triage", "ranking", "streaming", "feedback", "subjects"},
    {"cameras"},
    {""},  # the public API
    {"publishing", "edge"},
    {"report"},
    {"audit"},
    {"runs"},
    {"cluster"},
    {"second_opinion"},
    {"server"},
    {"training"},
    {"eval"},
    {"cli"},
)
"""What may import what: a part imports from its own layer and from those before it."""

REPORT_MAY_IMPORT = (
    "errors",
    "plugins",
    "types",
    "storage",
    "report",
    "memory.ranking",
    "vision.calibration",
    "vision.drawing",
    "vision.media",
)
"""A report is made of stored records: no detector, no model, no pipeline."""

MAX_MODULES = 401
"""With code: the docstring of a package is none.

About 225 for what learns, inspects, triages and reasons; 51 for evaluation; 36 for the audit log and queries
over runs; 44 for the server and what it publishes to; 30 for the edge, several cameras, second opinions and
clusters; the rest is the command line and what joins all of it.
"""
MAX_LINES = 500
MEDIAN_LINES = (140, 300)
MAX_PARAMETERS = 7
MAX_CODE_LINES = 60
"""Of a function, without its docstring."""

NOT_A_MODULE = {"compat", "deploy", "docs", "examples"}
"""Folders of tests about something else than one module."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def sources() -> dict[str, tuple[ast.AST, ...]]:
    """The syntax nodes of every module, by its name within the package; "" is the package itself."""
    nodes = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        nodes[name] = tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))))
    return nodes


def module_of(name: str) -> str:
    """The module that a dotted name within the package is, or is in."""
    while name not in sources():
        name = name.rpartition(".")[0]
    return name


@cache
def imports() -> dict[str, set[str]]:
    """What each module imports of the package, also inside functions and under TYPE_CHECKING.

    The version is no edge: whatever is imported of a package, its ``__init__`` is imported before.
    """
    found: dict[str, set[str]] = {name: set() for name in sources()}
    for module, nodes in sources().items():
        for node in nodes:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{module}: import by the full name"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            found[module] |= {
                module_of(name.partition(".")[2])
                for name in names
                if name.split(".")[0] == "anomalist" and name != "anomalist.__version__"
            }
        found[module].discard(module)
    return found


def layer(module: str) -> int:
    part = module.split(".")[0]
    return next(level for level, parts in enumerate(LAYERS) if part in parts)


def functions() -> Iterator[tuple[str, Function]]:
    for module, nodes in sources().items():
        for node in nodes:
            if isinstance(node, Function):
                yield module, node


def lines(node: ast.AST) -> int:
    return (getattr(node, "end_lineno", 0) or 0) - getattr(node, "lineno", 0) + 1


def test_the_checks_see_the_whole_package() -> None:
    assert "" in sources()
    assert {"types.image", "vision.motion.scene", "agent.asking.answering", "pipeline"} <= sources().keys()
    assert {"types.image", "vision.regions"} <= imports()["vision.evidence"]
    assert "report.wording" in imports()["report.builder"]


def test_every_part_has_its_layer() -> None:
    parts = {name.split(".")[0] for name in sources()}
    assert parts == set().union(*LAYERS)


def test_imports_go_one_way_through_the_layers() -> None:
    wrong = {
        f"{module} imports {other}"
        for module, others in imports().items()
        for other in others
        if layer(other) > layer(module)
    }
    assert wrong == set()


def test_nothing_that_runs_imports_training() -> None:
    importing = {
        module
        for module, others in imports().items()
        if any(other.split(".")[0] == "training" for other in others)
    }
    assert {module.split(".")[0] for module in importing} <= {"training", "eval"}


def test_reports_are_made_of_stored_records_alone() -> None:
    wrong = {
        f"{module} imports {other}"
        for module, others in imports().items()
        if module.split(".")[0] == "report"
        for other in others
        if not other.startswith(REPORT_MAY_IMPORT)
    }
    assert wrong == set()


def test_no_two_modules_import_each_other_however_far_around() -> None:
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_there_are_few_modules_of_readable_size() -> None:
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in ROOT.rglob("*.py")}
    assert {path.name: size for path, size in sizes.items() if size > MAX_LINES} == {}
    with_code = [size for path, size in sizes.items() if path.name != "__init__.py"]
    assert len(with_code) <= MAX_MODULES
    assert MEDIAN_LINES[0] <= statistics.median(with_code) <= MEDIAN_LINES[1]


def test_functions_take_few_parameters() -> None:
    many = {}
    for module, node in functions():
        if module.startswith("cli."):
            continue  # each is an option of a command
        if module.startswith("agent.tools."):
            continue  # the schema that a language model fills in: flat, without records
        named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        count = len([each for each in named if each.arg not in ("self", "cls")])
        if count > MAX_PARAMETERS:
            many[f"{module}.{node.name}"] = count
    assert many == {}


def test_functions_are_short() -> None:
    """What is documentation doesn't count: the docstring, and in the CLI the options with their help."""
    long = {}
    for module, node in functions():
        documented = lines(node.body[0]) if ast.get_docstring(node) else 0
        if module.startswith("cli."):
            documented += node.body[0].lineno - node.lineno
        if lines(node) - documented > MAX_CODE_LINES:
            long[f"{module}.{node.name}"] = lines(node) - documented
    assert long == {}


def test_a_public_class_has_a_name_of_its_own() -> None:
    where: dict[str, list[str]] = defaultdict(list)
    for module, nodes in sources().items():
        for node in nodes:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where[node.name].append(module)
    assert {name: modules for name, modules in where.items() if len(modules) > 1} == {}


def test_every_test_file_is_named_after_the_module_that_it_tests() -> None:
    """tests/a/test_b.py and tests/a/test_b_aspect.py test anomalist/a/b.py, or the package a/b."""
    strangers = []
    for path in TESTS.rglob("test_*.py"):
        folder = path.relative_to(TESTS).parent
        if path == Path(__file__) or NOT_A_MODULE & set(folder.parts):
            continue
        words = path.stem.removeprefix("test_").split("_")
        stems = ["_".join(words[:count]) for count in range(1, len(words) + 1)]
        places = [ROOT / folder / stem for stem in stems]
        if not any(place.is_dir() or place.with_suffix(".py").exists() for place in places):
            strangers.append(str(path.relative_to(TESTS)))
    assert strangers == []


def test_nothing_loads_code_from_data() -> None:
    """No pickle in any form, and no code from a model hub."""
    wrong = []
    for module, nodes in sources().items():
        for node in nodes:
            if isinstance(node, ast.Import):
                loads = any(alias.name.split(".")[0] in ("pickle", "dill", "joblib") for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                loads = (node.module or "").split(".")[0] in ("pickle", "dill", "joblib")
            elif isinstance(node, ast.Call):
                loads = ast.unparse(node.func) in ("torch.load", "eval", "exec") or any(
                    keyword.arg in ("trust_remote_code", "allow_pickle")
                    and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
                    for keyword in node.keywords
                )
            else:
                continue
            if loads:
                wrong.append(f"{module}:{node.lineno}")
    assert wrong == []
