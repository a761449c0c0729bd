"""`anomalist query` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from anomalist.cli.app import app
from anomalist.errors import DataError
from anomalist.eval.run_examples import write_picture_run


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["query", *map(str, arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_picture_run(tmp_path_factory.mktemp("asked") / "run", 60)


def test_a_table_with_what_was_asked(folder: Path) -> None:
    done = run(folder, "label=anomalous by folder")
    assert done.exit_code == 0, done.output
    assert "of 60 pictures: label = anomalous, by folder" in done.output
    assert "brick/early" in done.output


def test_json_holds_query_and_rows(folder: Path) -> None:
    result = json.loads(run(folder, "share label=anomalous by product", "--json").stdout)
    assert result["text"] == "share label=anomalous of pictures by product"
    assert {row[0] for row in result["rows"]} == {"brick", "gravel", "grass"}


def test_what_is_missing_is_said(folder: Path) -> None:
    for arguments in ((folder,), ("label=anomalous",), (folder, "lable=anomalous")):
        assert isinstance(run(*arguments).exception, DataError)
