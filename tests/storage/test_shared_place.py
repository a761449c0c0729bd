"""Two homes that share one S3-compatible store: each finds what the other made, and nothing is lost."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from anomalist.errors import DataError
from anomalist.storage.object_store import ObjectStore
from anomalist.storage.places import PlaceUnreachableError, bring_profile, here, using_place
from anomalist.storage.shared_place import SharedPlace
from tests.object_server import ObjectServer, object_server
from tests.waiting import until


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectServer]:
    with object_server() as server:
        yield server


@pytest.fixture
def objects(
    server: ObjectServer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> ObjectServer:
    """The server, with a folder of its own for each test."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    server.folder = request.node.name
    return server


class Home:
    """A home with its place, as a server opens it."""

    def __init__(self, path: Path, address: str) -> None:
        self.profiles, self.folder = path / "profiles", path / "server"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.told: list[str] = []
        self.place = SharedPlace(
            ObjectStore(address), self.folder, self.profiles, path.name, self.told.append
        )

    def upload(self, content: bytes, name: str = "01.png") -> Path:
        sha256 = hashlib.sha256(content).hexdigest()
        return write(self.folder / "uploads" / sha256[:2] / sha256[:32] / name, content)

    def run(self, name: str, rows: str) -> Path:
        run = self.folder / "runs" / name
        write(run / "maps" / "a.npy", b"map")
        write(run / "records.jsonl", rows.encode())
        return run


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def homes(objects: ObjectServer, tmp_path: Path) -> Iterator[tuple[Home, Home]]:
    pair = Home(tmp_path / "one", objects.address), Home(tmp_path / "two", objects.address)
    for home in pair:
        home.place.start()
    yield pair
    for home in pair:
        home.place.close()


def test_an_upload_to_one_is_found_by_the_other_under_its_first_path(homes: tuple[Home, Home]) -> None:
    one, two = homes
    path = one.upload(b"picture")
    one.place.keep(path)
    path.unlink()
    with using_place(two.place):
        found = here(path)
    assert found.is_relative_to(two.folder)
    assert found.read_bytes() == b"picture"


def test_what_is_not_what_was_uploaded_is_refused(homes: tuple[Home, Home], objects: ObjectServer) -> None:
    one, two = homes
    path = one.upload(b"picture")
    one.place.keep(path)
    key = path.relative_to(one.folder).as_posix()
    path.unlink()
    ObjectStore(objects.address).write(key, b"another")
    with pytest.raises(DataError, match="hash differs"):
        two.place.here(path)
    assert not (two.folder / key).exists()


def test_a_folder_of_products_is_found_whole(homes: tuple[Home, Home]) -> None:
    one, two = homes
    folder = one.folder / "uploads" / "products" / ("0" * 32)
    write(folder / "left" / "1.png", b"l")
    write(folder / "right" / "1.png", b"r")
    one.place.keep(folder)
    found = two.place.here(Path("/elsewhere") / folder.relative_to(one.folder))
    assert sorted(each.relative_to(found).as_posix() for each in found.rglob("*.png")) == [
        "left/1.png",
        "right/1.png",
    ]


def test_a_run_of_one_is_read_by_the_other_and_followed(homes: tuple[Home, Home]) -> None:
    one, two = homes
    one.place.send_soon(one.run("day", "first\n"))
    run = two.folder / "runs" / "day"

    def rows(text: str) -> Callable[[], bool]:
        def came() -> bool:
            two.place._brought.clear()
            two.place.bring_run(run)
            return (run / "records.jsonl").is_file() and (run / "records.jsonl").read_text() == text

        return came

    until(rows("first\n"))
    assert two.place.here(run / "maps" / "a.npy").read_bytes() == b"map"
    one.place.send_soon(one.run("day", "first\nsecond\n"))
    until(rows("first\nsecond\n"))
    two.place.send_soon(run)
    assert two.place._is_own("day") is False, "who reads a run does not write it"


def test_who_takes_a_run_over_has_its_rows_and_they_are_not_overwritten(
    homes: tuple[Home, Home], objects: ObjectServer
) -> None:
    one, two = homes
    one.place.take_run(one.folder / "runs" / "job-1")
    run = one.run("job-1", "a\n")
    one.place._send_run(run)
    mine = two.folder / "runs" / "job-1"
    assert two.place.take_run(mine) is True
    assert (mine / "records.jsonl").read_text() == "a\n"
    write(mine / "records.jsonl", b"a\nb\n")
    two.place._send_run(mine)
    one.run("job-1", "a\nstale\n")
    one.place._send_run(run)
    assert ObjectStore(objects.address).read("runs/job-1/records.jsonl") == b"a\nb\n"


def test_a_profile_that_one_learned_or_learned_again_is_used_by_the_other(homes: tuple[Home, Home]) -> None:
    one, two = homes
    for text in (b"learned", b"learned again"):
        write(one.profiles / "tiles" / "profile.json", text)
        write(one.profiles / "tiles" / "parts" / "a.bin", text)
        one.place.share_profiles(at_once=True)
        two.place.share_profiles(at_once=True)
        assert (two.profiles / "tiles" / "profile.json").read_bytes() == text
        assert (two.profiles / "tiles" / "parts" / "a.bin").read_bytes() == text
    write(two.profiles / "tiles" / "profile.json", b"by the other")
    two.place.share_profiles(at_once=True)
    one.place.share_profiles(at_once=True)
    assert (one.profiles / "tiles" / "profile.json").read_bytes() == b"by the other"


def test_a_profile_that_is_not_here_is_looked_for_however_lately_that_was_done(
    homes: tuple[Home, Home],
) -> None:
    one, two = homes
    two.place.share_profiles(at_once=True)
    write(one.profiles / "tiles" / "profile.json", b"learned")
    one.place.share_profiles(at_once=True)
    with using_place(two.place):
        bring_profile(two.profiles / "tiles")
    assert (two.profiles / "tiles" / "profile.json").read_bytes() == b"learned"


def test_another_profile_of_the_same_name_is_never_overwritten(objects: ObjectServer, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name / "profiles" / "tiles" / "profile.json", name.encode())
    one = Home(tmp_path / "one", objects.address)
    one.place.start()
    one.place.close()
    two = Home(tmp_path / "two", objects.address)
    with pytest.raises(DataError, match="The profile tiles here is another"):
        two.place.start()
    assert (two.profiles / "tiles" / "profile.json").read_bytes() == b"two"
    two.place.close()


def test_nothing_is_lost_when_the_store_goes_and_comes_back(
    homes: tuple[Home, Home], objects: ObjectServer
) -> None:
    one, two = homes
    objects.stop()
    run, path = one.run("day", "row\n"), one.upload(b"picture")
    one.place.send_soon(run)
    one.place.send_soon(path)
    until(lambda: bool(one.told))
    assert "can't be reached" in one.told[0]
    assert one.place.trouble
    with pytest.raises(PlaceUnreachableError, match="can't be reached"):
        two.place.here(path.with_name("02.png"))
    one.place.close()  # what waits is sent by the next process
    objects.start()
    again = Home(one.folder.parent, objects.address)
    again.place.start()
    until(lambda: ObjectStore(objects.address).read("runs/day/records.jsonl") == b"row\n")
    assert again.place.trouble == ""
    again.place.close()
    path.unlink()
    assert two.place.here(path).read_bytes() == b"picture"


def test_what_is_wrong_with_a_store_is_said_in_one_error(
    objects: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="is not there") as missing:
        ObjectStore("s3://nothing/line").check()
    assert "Make the bucket" in missing.value.remedy
    objects.require_credentials(0)
    with pytest.raises(DataError, match="refuses the credentials"):
        ObjectStore(objects.address).check()
    objects.require_credentials(10**9)
    with monkeypatch.context() as without:
        without.delenv("AWS_ACCESS_KEY_ID")
        without.delenv("AWS_SECRET_ACCESS_KEY")
        without.setenv("AWS_EC2_METADATA_DISABLED", "true")
        without.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        with pytest.raises(DataError, match="refuses the credentials"):
            ObjectStore(objects.address).check()
    objects.stop()
    with pytest.raises(DataError, match="can't be reached"):
        ObjectStore(objects.address).check()
    objects.start()
    with pytest.raises(DataError, match="can't be used as a store"):
        ObjectStore("nonsense://bucket")
