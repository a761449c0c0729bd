"""Cards of profiles, scenes and models: what each is and what is known of its limits, from records alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from anomalist.audit.log import audit_folder, has_log
from anomalist.audit.probes import newest_probes
from anomalist.audit.promises import Promise, weigh_promises
from anomalist.audit.reading import read_entries
from anomalist.errors import DataError
from anomalist.report.document import escape_markdown
from anomalist.report.wording import percent
from anomalist.storage.artifacts import profile_path
from anomalist.vision.profile import MIXED_KIND, PROFILE_KIND, Manifest


def profile_card(name: str, folder: Path | None = None) -> str:
    """The card of a profile or scene as Markdown.

    Raises ProfileError where there is none of that name, or it is damaged.
    """
    from anomalist.vision.motion.scene import SCENE_KIND, SceneManifest

    place = audit_folder() if folder is None else folder
    path = profile_path(name)
    if SCENE_KIND.is_at(path):
        scene: SceneManifest = SCENE_KIND.read_manifest(path)
        lines = list(_scene_lines(scene))
        digest = scene.digest
    elif MIXED_KIND.is_at(path):
        mixed = MIXED_KIND.read_manifest(path)
        names = ", ".join(product.name for product in mixed.products)
        lines = [f"- Kind: profile of {len(mixed.products)} products: {escape_markdown(names)}"]
        digest = mixed.digest
    else:
        manifest = PROFILE_KIND.read_manifest(path)
        lines = list(_profile_lines(manifest))
        digest = manifest.digest
    text = [f"# {escape_markdown(path.name)}", "", f"- Digest: `{digest}`", *lines, ""]
    if has_log(place):
        text += ["## What was promised, and what came out", ""]
        text += list(_promise_lines(weigh_promises(place, profile=path.name))) or [
            "Nothing was judged yet.",
            "",
        ]
        text += ["## What it misses", ""]
        text += list(_probe_lines(place, path.name)) or ["No probes were made: `anomalist audit probe`.", ""]
    return "\n".join(text).rstrip() + "\n"


def _profile_lines(manifest: Manifest) -> Iterator[str]:
    hashes = {normal.sha256 for normal in manifest.normals}
    groups = {normal.group for normal in manifest.normals if normal.group}
    calibrating = sum(normal.use != "learn" for normal in manifest.normals)
    yield f"- Learned: {manifest.created}, by anomalist {manifest.version}"
    yield (
        f"- From: {len(manifest.normals)} normal pictures ({len(hashes)} different by SHA-256"
        + (f", {len(groups)} groups" if groups else "")
        + ")"
    )
    yield f"- Left out: {len(manifest.skipped)} pictures that could not be read"
    yield f"- Labelled defects: {len(manifest.defects) or 'none'}"
    yield f"- Detector: {manifest.detector}, effort {manifest.effort}, seed {manifest.seed}"
    yield f"- Calibrated on {calibrating} pictures; false-alarm rates from {manifest.lowest_rate:.3g} up"


def _scene_lines(scene: object) -> Iterator[str]:
    from anomalist.vision.motion.scene import SceneManifest

    assert isinstance(scene, SceneManifest)
    minutes = sum(footage.seconds for footage in scene.footage) / 60
    yield f"- Learned: {scene.created}, by anomalist {scene.version}"
    yield f"- From: {len(scene.footage)} videos, {minutes:.1f} minutes of normal footage"
    yield f"- Left out: {len(scene.skipped)} videos that could not be read"
    yield f"- Zones: {len(scene.zones) or 'none'}"


def _promise_lines(promises: tuple[Promise, ...]) -> Iterator[str]:
    for each in promises:
        promised = "nothing" if each.promised is None else percent(each.promised)
        kept = {None: "not known yet", True: "kept", False: "broken"}[each.kept]
        when = f"{each.first[:10]} to {each.last[:10]}"
        yield f"- Version `{each.digest[:12]}`, {each.pictures} pictures from {when}:"
        yield f"    - promised {promised} false alarms, found {each.false_alarms}: {kept}"
        yield f"    - missed {each.missed_among_quiet}; undecided {each.undecided}; not judged {each.errors}"
        for what, test in (("all scores", each.drift), ("scores without alarms", each.quiet_drift)):
            if test is not None:
                since = "no drift" if test.since is None else f"drift since entry {test.since[0]}"
                yield f"    - {what}: {since} in {test.tested} pictures"
        wholes = each.input_drift
        if wholes is not None and wholes.since is not None:
            yield f"    - the pictures as a whole: {wholes.words} (entry {wholes.since[0]})"
    if promises:
        yield ""


def _probe_lines(folder: Path, name: str) -> Iterator[str]:
    last = newest_probes(folder).get(name)
    if last is None:
        return
    content = last.content
    yield f"Blind probes of {last.time[:10]} (entry {last.id}), digest `{str(content.get('digest'))[:12]}`:"
    yield ""
    yield "| contrast | size | found | 95 % interval | probes |"
    yield "| ---: | ---: | ---: | --- | ---: |"
    for cell in content.get("grid") or ():
        share = "–" if cell.get("share") is None else percent(cell["share"])
        interval = f"{percent(cell['low'])} to {percent(cell['high'])}"
        row = (percent(cell["contrast"]), percent(cell["size"]), share, interval, str(cell["of"]))
        yield f"| {' | '.join(row)} |"
    yield ""


def model_card(name: str, folder: Path | None = None) -> str:
    """The card of a language model as Markdown: how it was asked, and what came of it.

    Raises DataError where the log names no such model.
    """
    calls = events = unreadable = dropped = 0
    labels: dict[str, int] = {}
    agreed = differed = 0
    prompts: set[str] = set()
    for entry in read_entries(folder, kinds=("inspection", "model call")):
        content = entry.content
        if entry.kind == "model call":
            if content.get("model") == name:
                events += "event" in content
                calls += "event" not in content
                prompts |= {str(prompt["id"]) for prompt in content.get("prompts") or ()}
            continue
        record = content.get("record") or {}
        if record.get("model") != name:
            continue
        dropped += len(record.get("dropped") or ())
        voices = {each["by"]: each["label"] for each in record.get("opinions") or ()}
        own = next((label for by, label in voices.items() if by != "detector"), None)
        if own is None:
            unreadable += 1
            continue
        labels[own] = labels.get(own, 0) + 1
        agreed += own == voices.get("detector")
        differed += own != voices.get("detector")
    if not calls and not events and not labels and not unreadable:
        raise DataError(
            f"The audit log names no model {name!r}.", "See: anomalist audit search --kind 'model call'"
        )
    lines = [
        f"# {escape_markdown(name)}",
        "",
        f"- Asked about {calls or agreed + differed + unreadable} pictures"
        + (f" and {events} events of clips" if events else ""),
        f"- Prompts: {', '.join(sorted(prompts)) or 'none on record'}",
        f"- Replies that could not be used: {unreadable}; sentences dropped for want of evidence: {dropped}",
        f"- Said: {', '.join(f'{count} {label}' for label, count in sorted(labels.items())) or 'nothing'}",
        f"- Agreed with the detector on {agreed} of {agreed + differed}",
    ]
    return "\n".join(lines) + "\n"
