"""Several products in one profile: each picture is judged by the product that it shows, or by none."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from anomalist.composition import InspectionSettings
from anomalist.errors import CalibrationError, DataError, DetectorError, ProfileError
from anomalist.feedback import relearn
from anomalist.pipeline import Inspector, learn, learn_products
from anomalist.records import inspect_to_folder
from anomalist.report.builder import write_report
from anomalist.report.picture_view import PictureReportView
from anomalist.settings import Settings
from anomalist.storage.run_folder import ImageRunFolder
from anomalist.types.common import UInt8Array
from anomalist.vision.features import dinov2
from anomalist.vision.profile import MixedProfile, Profile, load_any_profile, load_mixed, load_profile
from tests.boards import board, noisy
from tests.detectors import NAME
from tests.pictures import holed, tile, write

COUNTS = {"board": 6, "disc": 5, "tile": 20}
FEW = dict.fromkeys(COUNTS, 4)


def disc(number: int) -> UInt8Array:
    """An orange disc on blue ground, a little elsewhere each time, uint8 (96, 96, 3)."""
    import cv2

    rng = np.random.default_rng(number)
    picture = np.full((96, 96, 3), (40, 60, 150), np.uint8)
    x, y = (int(v) for v in rng.integers(42, 54, 2))
    cv2.circle(picture, (x, y), 30, (230, 140, 30), -1)
    return noisy(picture, 4, number)


def drawn_board(number: int) -> UInt8Array:
    return np.roll(noisy(board(), 5, number), number % 5, axis=1)


DRAW: dict[str, Callable[[int], UInt8Array]] = {"board": drawn_board, "disc": disc, "tile": tile}


def stripes() -> UInt8Array:
    """Green and magenta stripes, unlike any of the products."""
    picture = np.zeros((128, 128, 3), np.uint8)
    picture[:] = np.where((np.arange(128) // 16 % 2)[:, None, None] == 0, (20, 200, 40), (200, 20, 160))
    return picture


def draw_products(folder: Path, counts: Mapping[str, int] = FEW) -> Path:
    for name, count in counts.items():
        for number in range(count):
            write(folder / name / f"{number:02d}.png", DRAW[name](number))
    return folder


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[MixedProfile, Path]]:
    folder = tmp_path_factory.mktemp("line")
    goods = draw_products(folder / "goods", COUNTS)
    write(goods / "disc" / "broken.png", disc(0)).write_bytes(b"no picture")
    done: list[str] = []
    learned = learn_products(
        goods,
        profile=folder / "line",
        effort="fast",
        progress=lambda what, done_, total: done.append(what),
    )
    assert {what.partition(":")[0] for what in done} == set(COUNTS)
    assert "tile: calibrating" in done
    yield learned, goods


def quick(goods: Path, profile: str | Path, **options: object) -> MixedProfile:
    """Learn with a detector that takes no time; the router is the same."""
    return learn_products(goods, profile=profile, detector=NAME, **options)  # type: ignore[arg-type]


# --- learning ---------------------------------------------------------------------------------------------


def test_each_product_has_a_profile_of_its_own(line: tuple[MixedProfile, Path]) -> None:
    learned, _ = line
    assert [each.name for each in learned.products] == list(COUNTS)
    for each in learned.products:
        assert len(each.manifest.normals) == each.calibration.n_groups == COUNTS[each.name]
        assert each.manifest.lowest_rate == each.calibration.lowest_rate
    assert [len(each.manifest.skipped) for each in learned.products] == [0, 1, 0]
    assert "broken.png" in learned.products[1].manifest.skipped[0]
    again = load_any_profile(learned.path)
    assert isinstance(again, MixedProfile)
    assert (again.name, again.digest) == ("line", learned.digest)
    assert load_profile(learned.path / "products" / "tile").digest == learned.products[2].digest
    names = {path.relative_to(learned.path).as_posix() for path in learned.path.glob("*")}
    assert names == {"products.json", "router.safetensors", "products"}


def test_good_pictures_are_found_where_data_sets_have_them(tmp_path: Path) -> None:
    for name in ("disc", "tile"):
        for number in range(3):
            write(tmp_path / "set" / name / "train" / "good" / f"{number}.png", DRAW[name](number))
            write(tmp_path / "set" / name / "test" / "bad" / f"{number}.png", stripes())
    learned = quick(tmp_path / "set", "line")
    assert [len(each.manifest.normals) for each in learned.products] == [3, 3]
    assert learned.path == Settings().profiles / "line"


def test_regions_of_interest_and_defects_are_those_of_the_product(tmp_path: Path) -> None:
    goods = draw_products(tmp_path / "goods")
    white = np.full((64, 64, 3), 255, np.uint8)
    white[:, :32] = 0
    write(tmp_path / "roi" / "tile.png", white)
    write(tmp_path / "defects" / "tile" / "hole" / "0.png", holed(50))
    learned = quick(goods, "line", roi=tmp_path / "roi", defects=tmp_path / "defects")
    assert [each.roi is not None for each in learned.products] == [False, False, True]
    assert [len(each.manifest.defects) for each in learned.products] == [0, 0, 1]
    with pytest.raises(DataError, match=r"nothing for any .*<product>\.png in it"):
        quick(goods, "other", roi=tmp_path / "roi" / "tile.png")
    with pytest.raises(DataError, match="nothing for any"):
        quick(goods, "other", defects=tmp_path / "defects" / "tile")


def test_one_table_of_groups_serves_all_products(tmp_path: Path) -> None:
    goods = draw_products(tmp_path / "goods")
    rows = [
        f"{path.relative_to(goods).as_posix()},object{int(path.stem) // 2}"
        for path in sorted(goods.rglob("*.png"))
    ]
    (tmp_path / "groups.csv").write_text("\n".join(["image,group", *rows]))
    learned = quick(goods, "line", groups=tmp_path / "groups.csv")
    assert [each.calibration.n_groups for each in learned.products] == [2, 2, 2]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda goods: (goods / "disc" / "01.png").rename(goods / "loose.png"), "belongs to no product"),
        (
            lambda goods: [path.unlink() for path in sorted((goods / "disc").iterdir())[1:]],
            "disc has too few",
        ),
        (lambda goods: (goods / "empty").mkdir(), "empty has too few pictures: 0"),
        (lambda goods: (goods / "disc").rename(goods / "good"), "is of one product: it has a folder good"),
        (lambda goods: [shutil.rmtree(goods / name) for name in ("disc", "tile")], "At least 2 products"),
        (lambda goods: shutil.rmtree(goods), "is not a folder"),
        (
            lambda goods: [path.write_bytes(b"") for path in sorted((goods / "disc").iterdir())[1:]],
            "The product disc: At least 2 different normal pictures",
        ),
    ],
)
def test_what_can_not_be_learned_is_one_error_and_nothing_is_written(
    tmp_path: Path, change: Callable[[Path], object], said: str
) -> None:
    goods = draw_products(tmp_path / "goods")
    change(goods)
    with pytest.raises(DataError, match=said):
        quick(goods, "line")
    assert not Settings().profiles.exists() or not list(Settings().profiles.iterdir())


def test_without_dinov2_the_error_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANOMALIST_BACKBONE", raising=False)
    monkeypatch.setattr(dinov2, "find_spec", lambda name: None)
    monkeypatch.setattr(dinov2, "cached_folder", lambda name, files: None)
    with pytest.raises(DetectorError, match="DINOv2 is needed and is not on this machine"):
        quick(draw_products(tmp_path / "goods"), "line")


def test_profiles_of_one_product_and_of_several_keep_out_of_each_others_way(tmp_path: Path) -> None:
    goods = draw_products(tmp_path / "goods")
    quick(goods, "line")
    with pytest.raises(ProfileError, match="already there"):
        quick(goods, "line")
    assert quick(goods, "line", force=True).name == "line"
    with pytest.raises(ProfileError, match="line is a profile of several products"):
        learn(goods / "tile", profile="line", detector=NAME, force=True)
    with pytest.raises(ProfileError, match="not learned again from feedback"):
        relearn("line")
    plain = learn(goods / "tile", profile="tile", detector=NAME)
    with pytest.raises(ProfileError, match="tile is a profile of one product"):
        quick(goods, "tile", force=True)
    assert isinstance(load_any_profile("tile"), Profile)
    assert Inspector("tile").evidence_source.digest == plain.digest
    mine = Settings().profiles / "line" / "products" / "disc" / "mine.txt"
    mine.write_text("kept")
    with pytest.raises(ProfileError, match=r"mine\.txt"):
        quick(goods, "line", force=True)
    assert mine.read_text() == "kept"


# --- inspecting -------------------------------------------------------------------------------------------


def test_every_picture_is_judged_by_its_product(line: tuple[MixedProfile, Path], tmp_path: Path) -> None:
    learned, _ = line
    inspector = Inspector(learned, model="evidence", memory=False)
    for name, draw in DRAW.items():
        paths = [write(tmp_path / f"{name}{number}.png", draw(number)) for number in range(100, 104)]
        for inspection in inspector.inspect_many(paths):
            record = inspection.record
            assert record.product is not None
            assert (record.product.name, record.product.recognised) == (name, True)
            assert record.notes[-1].startswith(f"product: {name} (at 0.")
            assert record.product.distance < 1
            assert record.calibration is not None
            assert record.calibration.normals == COUNTS[name]
            assert (record.profile, record.profile_digest) == ("line", learned.digest)
            assert record.replace() == record == type(record).model_validate_json(record.model_dump_json())
    picture, (y, x) = tile(200), np.mgrid[:64, :64]
    picture[(y - 22) ** 2 + (x - 22) ** 2 < 9**2] = 5
    bad = inspector.inspect(write(tmp_path / "hole.png", picture))
    assert bad.record.product is not None
    assert bad.record.product.name == "tile"
    assert bad.record.label == "anomalous"  # although the hole makes the picture as a whole another one
    assert bad.record.product.distance > 1
    assert inspector.evidence_source.normal_crop is not None
    assert bad.media is not None
    assert inspector.evidence_source.normal_crop(bad.media, bad.record.regions[0]) is not None
    assert inspector.subject([bad]).calibrations[bad.record.calibration_digest or ""].n_groups == 20


def test_a_picture_unlike_every_product_is_undecided(line: tuple[MixedProfile, Path], tmp_path: Path) -> None:
    record = Inspector(line[0], model="evidence").inspect(write(tmp_path / "x.png", stripes())).record
    assert record.label == "undecided"
    assert (record.why_undecided or "").startswith("It looks like none of the products: the nearest is ")
    assert record.product is not None
    assert not record.product.recognised
    assert not any("product:" in note for note in record.notes)


def test_rates_are_those_of_each_product(line: tuple[MixedProfile, Path]) -> None:
    source = Inspector(line[0]).evidence_source
    assert getattr(source, "rates") == pytest.approx({"board": 1 / 7, "disc": 1 / 6, "tile": 0.05})  # noqa: B009
    assert source.rate == pytest.approx(1 / 6)
    with pytest.raises(CalibrationError, match=r"board: A false-alarm rate of 0\.05 needs 19"):
        Inspector(line[0], false_alarm_rate=0.05)


def test_reports_and_tables_name_the_product(line: tuple[MixedProfile, Path], tmp_path: Path) -> None:
    pictures = [write(tmp_path / "disc.png", disc(300)), write(tmp_path / "x.png", stripes())]
    inspector = Inspector(InspectionSettings(line[0], model="evidence"))
    with ImageRunFolder.open(tmp_path / "run") as run:
        list(inspect_to_folder(inspector, run, pictures))
        records = run.records()
        page = write_report(records, tmp_path / "run", PictureReportView(run.calibrations(records)))
    assert len(list((tmp_path / "run" / "calibration").iterdir())) == 3
    assert "<dt>Product</dt><dd>disc" in page.read_text(encoding="utf-8")
    with (tmp_path / "run" / "results.csv").open(newline="") as file:
        assert [row["product"] for row in csv.DictReader(file)] == ["disc", ""]


# --- damage -----------------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("router.safetensors", r"damaged: router\.safetensors"),
        ("products/disc/detector.safetensors", r"damaged: detector\.safetensors"),
        ("products.json", r"damaged: products\.json can't be read"),
    ],
)
def test_what_is_damaged_is_refused(
    line: tuple[MixedProfile, Path], tmp_path: Path, file: str, said: str
) -> None:
    copy = Path(shutil.copytree(line[0].path, tmp_path / "copy"))
    flip(copy / file)
    with pytest.raises(ProfileError, match=said):
        load_any_profile(copy)


def test_a_missing_or_swapped_product_is_refused(line: tuple[MixedProfile, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(line[0].path, tmp_path / "copy"))
    shutil.rmtree(copy / "products" / "disc")
    with pytest.raises(ProfileError, match="There is no profile disc"):
        load_mixed(copy)
    shutil.copytree(copy / "products" / "tile", copy / "products" / "disc")
    with pytest.raises(ProfileError, match="damaged: the profile of disc is another one"):
        load_mixed(copy)


def test_another_backbone_is_refused(line: tuple[MixedProfile, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(line[0].path, tmp_path / "copy"))
    manifest = json.loads((copy / "products.json").read_text())
    (copy / "products.json").write_text(json.dumps(manifest | {"backbone": "0" * 64}))
    with pytest.raises(DetectorError, match="learned with other weights"):
        Inspector(copy).inspect(write(tmp_path / "disc.png", disc(1)))
