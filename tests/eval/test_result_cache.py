from __future__ import annotations

from pathlib import Path

import pytest

from anomalist.errors import DataError
from anomalist.eval.result_cache import ResultCache, code_digest, content_key, files_digest
from anomalist.types.common import Frozen


class Row(Frozen):
    value: int


def test_what_was_put_is_found_again_by_its_key_alone(tmp_path: Path) -> None:
    key = content_key("a", 1)
    with ResultCache(tmp_path, "rows") as cache:
        cache.put(key, Row(value=7))
    with ResultCache(tmp_path, "rows") as cache:
        assert key in cache
        assert cache.get(key, Row) == Row(value=7)
        assert cache.get(content_key("a", 2), Row) is None


def test_a_row_that_is_cut_off_or_damaged_is_measured_again(tmp_path: Path) -> None:
    first, second = content_key("first"), content_key("second")
    with ResultCache(tmp_path, "rows") as cache:
        cache.put(first, Row(value=1))
        cache.put(second, Row(value=2))
    path = tmp_path / "rows.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"value": 1', b'"value": ?')[:-5])
    with ResultCache(tmp_path, "rows") as cache:
        assert cache.get(first, Row) is None
        assert cache.get(second, Row) is None
        cache.put(second, Row(value=3))
    with ResultCache(tmp_path, "rows") as cache:
        assert cache.get(second, Row) == Row(value=3)


def test_two_runs_never_write_to_one_file(tmp_path: Path) -> None:
    with ResultCache(tmp_path, "rows"), pytest.raises(DataError, match="Another anomalist"):
        ResultCache(tmp_path, "rows")


def test_keys_depend_on_every_part_and_on_content_not_on_place(tmp_path: Path) -> None:
    assert content_key("a", "b") != content_key("ab")
    assert len(code_digest()) == 64
    for folder, text in (("x", "same"), ("y", "same"), ("z", "other")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_text(text)
    x, y, z = (files_digest([tmp_path / folder / "a.png"]) for folder in "xyz")
    assert x == y != z
    assert files_digest([tmp_path / "gone.png"]) != x
    assert files_digest([tmp_path / "x"]) != files_digest([tmp_path / "z"])  # folders by their files
