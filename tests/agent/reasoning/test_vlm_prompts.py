from __future__ import annotations

import json
from pathlib import Path

import pytest

from anomalist.agent.reasoning.vlm_prompts import product_knowledge
from anomalist.errors import DataError

KNOWLEDGE = {
    "Kitchen": {"cup": {"good": "Round and white.", "crack": "A thin line."}, "spoon": "Always steel."},
    "Garden": {"cup": {"good": "A flower."}, "spade": {}},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "knowledge.json"
    path.write_text(json.dumps(KNOWLEDGE), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("product", "known"),
    [
        ("Kitchen/cup", (("good", "Round and white."), ("crack", "A thin line."))),
        ("Garden/cup", (("good", "A flower."),)),
        ("spoon", (("about", "Always steel."),)),
        ("spade", ()),
    ],
)
def test_what_is_known_about_a_product_is_found(
    product: str, known: tuple[tuple[str, str], ...], file: Path
) -> None:
    assert product_knowledge(file, product) == known


@pytest.mark.parametrize(
    ("product", "message"),
    [
        ("cup", "more than once: Kitchen/cup, Garden/cup"),
        (
            "fork",
            "knows nothing about fork. It knows about Garden/cup, Garden/spade, Kitchen/cup, Kitchen/spoon",
        ),
        ("Kitchen", "knows nothing about Kitchen"),
        ("", "knows nothing about"),
    ],
)
def test_a_product_that_is_not_clear_is_an_error_that_names_those_there_are(
    product: str, message: str, file: Path
) -> None:
    with pytest.raises(DataError, match=message):
        product_knowledge(file, product)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("", "is not JSON"),
        ("[" * 5000, "is not JSON"),
        ("[]", "has another form"),
        ('{"Kitchen": ["cup"]}', "has another form"),
        ('{"Kitchen": {"cup": {"good": {"deeper": "x"}}}}', "has another form"),
        ('{"Kitchen": {"cup": 7}}', "has another form"),
    ],
)
def test_a_file_of_another_form_is_an_error(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "knowledge.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        product_knowledge(path, "cup")


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be read: No such file"):
        product_knowledge(tmp_path / "none.json", "cup")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="is not JSON"):
        product_knowledge(tmp_path / "binary.json", "cup")


def test_the_real_file_has_this_form(data_dir: Path) -> None:
    path = data_dir / "mmad" / "domain_knowledge.json"
    if not path.is_file():
        pytest.skip("the domain knowledge of MMAD is not in the data folder")
    kinds = [kind for kind, _ in product_knowledge(path, "MVTec/bottle")]
    assert "good" in kinds
    assert len(kinds) > 1
