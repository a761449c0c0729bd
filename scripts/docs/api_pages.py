"""Write one page a module for the API reference, from the docstrings; run by mkdocs-gen-files."""

from __future__ import annotations

import ast
from pathlib import Path

import mkdocs_gen_files

SOURCE = Path(__file__).parents[2] / "src"


def main() -> None:
    """A page for each public module, the list of them, and an overview with the first line of each."""
    nav = mkdocs_gen_files.Nav()
    overview = ["# API reference", "", "| module | what it holds |", "|---|---|"]
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        page = Path(*parts).with_suffix(".md")
        if parts[-1] == "__init__":
            parts = parts[:-1]
            page = Path(*parts, "index.md")
        if any(part.startswith("_") for part in parts):
            continue
        name = ".".join(parts)
        nav[parts] = page.as_posix()
        overview.append(f"| [{name}]({page.as_posix()}) | {first_line(path)} |")
        with mkdocs_gen_files.open(Path("api") / page, "w") as file:
            file.write(f"---\ntitle: {parts[-1]}\n---\n\n# `{name}`\n\n::: {name}\n")
    with mkdocs_gen_files.open("api/index.md", "w") as file:
        file.write("\n".join(overview) + "\n")
    with mkdocs_gen_files.open("api/SUMMARY.md", "w") as file:
        file.write("* [Overview](index.md)\n")
        file.writelines(nav.build_literate_nav())


def first_line(path: Path) -> str:
    """First line of a module's docstring, fit for a cell of a table."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.split("\n")[0].replace("``", "`").replace("|", r"\|")


main()
