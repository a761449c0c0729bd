"""Export a bundle for an outsider: entries, media, texts, profiles and a verifier of one file.

All entries go along, because a chain is verified as a whole, but only the chosen ones, and those that say
with what was judged, have their content: a hash vouches for what is withheld. ``python verify.py`` in the
folder verifies it on a plain Python.
"""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from anomalist.audit.entries import HEAD_FILE, read_lines, segment_files, split_line, without_body
from anomalist.audit.log import AuditLog
from anomalist.audit.reading import LogEntry, find_entry
from anomalist.audit.retention import NEVER_REMOVED
from anomalist.audit.stores import media_path
from anomalist.errors import DataError
from anomalist.storage.files import staged_folder, utc_now, write_atomically, write_error

VERIFIER = "verify.py"
_PARTS = ("ed25519", "entries", "findings", "verification")
"""Modules that make up the verifier, in the order in which they need each other."""


def verifier_source() -> str:
    """Source of the one-file verifier: the modules that verify, without their imports of each other."""
    imports: set[str] = set()
    bodies = []
    for name in _PARTS:
        source = files("anomalist.audit").joinpath(f"{name}.py").read_text(encoding="utf-8")
        lines = source.splitlines()
        tree = ast.parse(source)
        taken: set[int] = {0}
        for node in tree.body:
            docstring = node is tree.body[0] and isinstance(node, ast.Expr)
            if docstring or isinstance(node, ast.Import | ast.ImportFrom):
                taken |= set(range(node.lineno - 1, node.end_lineno or node.lineno))
            if isinstance(node, ast.Import) or (
                isinstance(node, ast.ImportFrom)
                and node.module != "__future__"
                and not str(node.module).startswith("anomalist")
            ):
                imports.add(ast.unparse(node))
        body = "\n".join(line for at, line in enumerate(lines) if at not in taken).strip("\n")
        bodies.append(body)
    *parts, last = bodies
    head = (
        '"""Verify this bundle of an anomalist audit log, on a plain Python 3.11 or newer.\n\n'
        "    python verify.py [FOLDER] [--anchor LOG:POSITION:HASH]\n\n"
        'Exits with 0 when the log is sound, with 1 when not, and says what is damaged and where.\n"""\n'
    )
    future = "from __future__ import annotations\n"
    everything = "\n\n\n".join([*parts, last])
    return f"{head}\n{future}\n" + "\n".join(sorted(imports)) + f"\n\n\n{everything}\n"


def export_bundle(
    target: Path, entries: Sequence[LogEntry], folder: Path | None = None, *, profiles: bool = True
) -> Path:
    """Write a bundle into a folder that is not there yet; returns it.

    Parameters
    ----------
    entries : whose media, texts and profiles go along.
    profiles : whether learned profiles go along; they may be large.

    Raises
    ------
    DataError : the folder is there, or it can't be written.
    """
    if target.exists():
        raise DataError(f'"{target}" is there already.', "Name a folder that is not there yet.")
    log = AuditLog(folder)
    anchor = log.checkpoint()
    try:
        with staged_folder(target) as staged:
            (staged / "log").mkdir()
            with log.locked():
                shown = _copy_log(log.lines, staged / "log", {entry.position for entry in entries})
            missing = _copy_named(staged, entries, log.folder, profiles=profiles)
            write_atomically(staged / VERIFIER, verifier_source())
            rows = "".join(json.dumps({"position": position}) + "\n" for position in sorted(shown))
            write_atomically(staged / "chosen.jsonl", rows)
            write_atomically(staged / "README.txt", _readme(anchor, len(entries), missing))
    except OSError as error:
        raise write_error(target, error) from error
    return target


def _copy_log(lines: Path, target: Path, chosen: set[int]) -> set[int]:
    """Copy the segments, without the content of what was not chosen; returns what has its content."""
    shown = set()
    for file in segment_files(lines):
        rows = []
        for _, line, whole in read_lines(file):
            entry = split_line(line)
            if entry is not None and (entry.position in chosen or entry.head["kind"] in NEVER_REMOVED):
                shown.add(entry.position)
            elif entry is not None:
                line = without_body(line, entry)
            rows.append(line + (b"\n" if whole else b""))
        (target / file.name).write_bytes(b"".join(rows))
    shutil.copyfile(lines / HEAD_FILE, target / HEAD_FILE)
    return shown


def _copy_named(staged: Path, entries: Sequence[LogEntry], folder: Path, *, profiles: bool) -> list[str]:
    """Copy what entries and their sessions name; returns what is no longer there."""
    media, texts, learned = _named(entries, folder)
    missing = []
    for sha256 in sorted(media):
        source = media_path(folder, sha256)
        if source.is_file():
            target = media_path(staged, sha256)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        else:
            missing.append(f"medium {sha256}")
    for sha256 in sorted(texts):
        source = folder / "texts" / sha256
        if source.is_file():
            (staged / "texts").mkdir(exist_ok=True)
            shutil.copyfile(source, staged / "texts" / sha256)
        else:
            missing.append(f"text {sha256}")
    for digest in sorted(learned) if profiles else ():
        source = folder / "profiles" / digest[:16]
        if source.is_dir():
            shutil.copytree(source, staged / "profiles" / digest[:16])
        else:
            missing.append(f"profile {digest[:12]}")
    return missing


def _named(entries: Iterable[LogEntry], folder: Path) -> tuple[set[str], set[str], set[str]]:
    media: set[str] = set()
    texts: set[str] = set()
    learned: set[str] = set()
    sessions: dict[int, LogEntry] = {}
    for entry in entries:
        content = entry.content
        media |= {str(item["sha256"]) for item in content.get("media") or ()}
        texts |= {str(text) for text in (content.get("texts") or {}).values()}
        session = content.get("session")
        if isinstance(session, int) and session not in sessions:
            sessions[session] = find_entry(str(session), folder)
    for about in (each.content for each in (*entries, *sessions.values())):
        texts |= {str(about[name]) for name in ("policy_text", "rules") if isinstance(about.get(name), str)}
        if about.get("profile_digest"):
            learned.add(str(about["profile_digest"]))
        reference: Any = about.get("reference")
        if isinstance(reference, dict):
            media.add(str(reference["sha256"]))
    return media, texts, learned


def _readme(anchor: str, chosen: int, missing: Sequence[str]) -> str:
    gone = "".join(f"\n  {each}" for each in missing)
    return (
        f"A bundle of an anomalist audit log, made {utc_now()}.\n\n"
        f"Verify it, on Python 3.11 or newer, without packages:\n\n    python {VERIFIER}\n\n"
        f"Its end, to be compared with what was kept elsewhere:\n\n    {anchor}\n\n"
        "log/       all entries, in segments: a chain is verified as a whole\n"
        f"chosen.jsonl  which entries have their content: {chosen}, and what they were judged with\n"
        "media/     pictures and masks by their SHA-256\n"
        "texts/     policies, rules and prompts by their SHA-256\n"
        "profiles/  what was learned, by its digest\n"
        + (f"\nNamed by the entries, but no longer there:{gone}\n" if missing else "")
    )
