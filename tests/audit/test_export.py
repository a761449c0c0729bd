"""A bundle for an outsider, verified by its one file on a plain Python without packages."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from anomalist.audit.export import export_bundle
from anomalist.audit.reading import read_entries, verify_log
from anomalist.audit.retention import remove_entries
from anomalist.errors import DataError
from tests.audit.conftest import Logged


def run_verifier(bundle: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As an outsider would: isolated, without site packages and without this package."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "verify.py", *arguments], cwd=bundle, capture_output=True, text=True
    )


def test_the_bundle_is_verified_on_a_plain_python_and_damage_is_named(logged: Logged, tmp_path: Path) -> None:
    chosen = logged.entries("anomalous")
    bundle = export_bundle(tmp_path / "bundle", chosen, logged.folder)
    sound = run_verifier(bundle)
    assert sound.returncode == 0, sound.stdout + sound.stderr
    assert "SOUND" in sound.stdout and "withheld" in sound.stdout

    (segment,) = (bundle / "log").glob("segment-*")
    content = segment.read_bytes()
    segment.write_bytes(content.replace(b'"label":"anomalous"', b'"label":"normal   "', 1))
    damaged = run_verifier(bundle)
    assert damaged.returncode == 1
    assert f"changed: entry {chosen[0].position}" in damaged.stdout

    segment.write_bytes(content)
    next(path for path in (bundle / "media").rglob("*") if path.is_file()).write_bytes(b"x")
    assert "media" in run_verifier(bundle).stdout


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("texts/*", "text"),
        ("profiles/*/*/profile.json", "profile"),
        ("profiles/*/*/*.safetensors", "profile"),
    ],
)
def test_what_was_judged_with_is_verified_in_a_log_and_in_a_bundle(
    change: str, found: str, logged: Logged, tmp_path: Path
) -> None:
    bundle = export_bundle(tmp_path / "bundle", logged.entries("anomalous"), logged.folder)
    assert verify_log(logged.folder).sound and run_verifier(bundle).returncode == 0
    for folder in (logged.folder, bundle):
        file = next(folder.glob(change))
        content = bytearray(file.read_bytes())
        content[-10] ^= 1
        file.unlink()  # others may be linked to it
        file.write_bytes(content)
    (finding,) = verify_log(logged.folder).findings
    assert finding.kind == "kept" and f"stored {found}" in finding.text and "has changed" in finding.text
    assert str(finding) in run_verifier(bundle).stdout
    for folder in (logged.folder / "profiles", logged.folder / "texts"):
        shutil.rmtree(folder)
    gone = [each.text for each in verify_log(logged.folder).findings]
    assert len(gone) == 3 and all("is gone" in text for text in gone)


def test_only_what_was_chosen_has_its_content(logged: Logged, tmp_path: Path) -> None:
    chosen = logged.entries("anomalous")[:1]
    bundle = export_bundle(tmp_path / "bundle", chosen, logged.folder)
    text = b"".join(file.read_bytes() for file in (bundle / "log").iterdir())
    assert Path(chosen[0].source).name.encode() in text and b"good1.png" not in text
    assert (bundle / "profiles").is_dir() and (bundle / "texts").is_dir()
    rows = (bundle / "chosen.jsonl").read_text().splitlines()
    assert chosen[0].position in [json.loads(row)["position"] for row in rows]


def test_content_removed_by_hand_from_a_bundle_is_damage(logged: Logged, tmp_path: Path) -> None:
    bundle = export_bundle(tmp_path / "bundle", logged.entries(), logged.folder)
    rows = (bundle / "chosen.jsonl").read_text().splitlines()
    assert len(rows) > 10
    (segment,) = (bundle / "log").glob("segment-*")
    from anomalist.audit.entries import split_line, without_body

    lines = segment.read_bytes().splitlines()
    parsed = split_line(lines[3])
    assert parsed is not None
    lines[3] = without_body(lines[3], parsed)
    segment.write_bytes(b"\n".join(lines) + b"\n")
    assert "removed: entry 3" in run_verifier(bundle).stdout


def test_an_anchor_kept_elsewhere_is_compared_by_the_verifier(logged: Logged, tmp_path: Path) -> None:
    bundle = export_bundle(tmp_path / "bundle", list(read_entries(logged.folder)), logged.folder)
    anchor = (bundle / "README.txt").read_text().split("elsewhere:\n\n    ")[1].split()[0]
    assert run_verifier(bundle, "--anchor", anchor).returncode == 0
    wrong = anchor[:-1] + ("0" if anchor[-1] != "0" else "1")
    assert run_verifier(bundle, "--anchor", wrong).returncode == 1


def test_removed_content_is_no_damage_in_a_bundle(logged: Logged, tmp_path: Path) -> None:
    remove_entries(logged.entries()[:1], "asked", logged.folder)
    bundle = export_bundle(tmp_path / "bundle", logged.entries("anomalous"), logged.folder)
    assert run_verifier(bundle).returncode == 0


def test_a_folder_that_is_there_is_left_alone(logged: Logged, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there already"):
        export_bundle(tmp_path, logged.entries(), logged.folder)
