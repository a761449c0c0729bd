from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from anomalist.cli.terminal import triage_table
from anomalist.errors import DataError, MediaError
from anomalist.memory.ranking import RankAdjustment
from anomalist.report import builder, clip_view
from anomalist.report.builder import (
    VideoOpener,
    event_file_name,
    write_event_files,
    write_report,
)
from anomalist.report.clip_view import ClipReportView
from anomalist.storage.run_folder import ClipRunFolder
from anomalist.types.clip import ClipRecord, Trouble, WatchMatch
from anomalist.types.common import Claim
from anomalist.vision.media.frames import Frame, Video
from anomalist.vision.media.video import open_video
from tests.report.clip_records import NASTY, clip, dark, event, failed, film
from tests.report.pages import Element, parse


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    film(folder / "yard.mp4", 3)
    return folder


def write_triage(
    records: Sequence[ClipRecord],
    folder: Path,
    videos: Mapping[str, Video] | VideoOpener | None = None,
    *,
    title: str | None = None,
    clips: bool = True,
) -> Path:
    pictured = write_event_files(records, folder, videos, clips=clips)
    with ClipRunFolder.open(folder) as run:
        run.replace(pictured)
    return write_report(pictured, folder, ClipReportView(), title=title)


def nasty(source: str) -> ClipRecord:
    return clip(
        source,
        event(
            "E1",
            watched=(WatchMatch(item="<b>running</b>", similarity=0.5, matched=True),),
            opinion="<i>Someone</i> runs.",
            claims=(Claim(text="T1 <u>runs</u>.", evidence=("E1", "T1", "rule:7")),),
        ),
        event("E2", 8, 9, kind="place", zone="<gate>", severity=4),
        troubles=(Trouble(kind="covered", start=4, end=6),),
        notes=("A <strange> file.",),
    )


def everything(videos: Path) -> list[ClipRecord]:
    yard = str(videos / "yard.mp4")
    return [clip(yard, event(), event("E2", 2, 2.5)), nasty(NASTY), failed(), dark(), clip("calm.mp4")]


def opener(videos: Path) -> VideoOpener:
    return lambda source: open_video(videos / "yard.mp4") if source == NASTY else open_video(source)


def written(tmp_path: Path, videos: Path) -> Element:
    return parse(write_triage(everything(videos), tmp_path, opener(videos)))


def test_pictures_and_clips_lie_beside_the_records_that_name_them(tmp_path: Path, videos: Path) -> None:
    write_triage(everything(videos), tmp_path, opener(videos))
    records = ClipRunFolder(tmp_path).records()
    assert [record.source for record in records] == [record.source for record in everything(videos)]
    first = records[0].events[0]
    name = event_file_name(records[0].source, "E1")
    assert (first.key_frame, first.clip) == (f"frames/{name}.jpg", f"clips/{name}.mp4")
    assert {p.name for p in (tmp_path / "frames").iterdir()} >= {f"{name}.jpg", f"{name}-close.jpg"}
    cut = open_video(tmp_path / "clips" / f"{name}.mp4")
    assert cut.duration == pytest.approx(3, abs=0.2)  # from a second before to a second after


def test_the_file_for_machines_holds_the_order_and_what_stays_open(tmp_path: Path, videos: Path) -> None:
    write_triage(everything(videos), tmp_path, opener(videos))
    report = json.loads((tmp_path / "triage.json").read_text("utf-8"))
    assert report["format"] == 1
    assert [alert["id"] for alert in report["alerts"]] == ["A1", "A2", "A3"]
    assert report["alerts"][0]["source"] == NASTY
    assert [item["kind"] for item in report["unjudged"]] == ["error", "undecided", "camera"]
    assert report["summary"]["clips"] == 5


def test_every_link_leads_somewhere_and_every_id_is_used_once(tmp_path: Path, videos: Path) -> None:
    page = written(tmp_path, videos)
    ids = [element.attributes["id"] for element in page.all() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    links = [element.attributes["href"] or "" for element in page.all("a")]
    assert links
    for link in links:
        assert link[1:] in ids if link.startswith("#") else (tmp_path / link).is_file()


def test_nothing_is_loaded_but_the_clips_beside_it(tmp_path: Path, videos: Path) -> None:
    page = written(tmp_path, videos)
    assert not [*page.all("script"), *page.all("link"), *page.all("iframe")]
    pictures = [image.attributes["src"] or "" for image in page.all("img")]
    assert pictures
    assert all(source.startswith("data:image/jpeg;base64,") for source in pictures)
    films = [film.attributes["src"] or "" for film in page.all("video")]
    assert len(films) == 3  # the film has ended when the fourth event begins
    assert all((tmp_path / source.partition("#")[0]).is_file() for source in films)
    policy = next(m for m in page.all("meta") if m.attributes.get("http-equiv") == "Content-Security-Policy")
    assert (policy.attributes["content"] or "").startswith("default-src 'none'; img-src data:; media-src")


def test_names_and_texts_stay_text(tmp_path: Path, videos: Path) -> None:
    page = written(tmp_path, videos)
    assert not [e for e in page.all() if any(name.startswith("on") for name in e.attributes)]
    assert not [*page.all("u"), *page.all("gate"), *page.all("not"), *page.all("strange")]
    words = page.words()
    for text in (
        "<img src=x onerror=alert(1)> & 'quoted'",
        "<b>running</b>",
        "<i>Someone</i> runs.",
        "<u>runs</u>",
    ):
        assert text in words
    assert "A <strange> file." in words
    assert "This is <not> a video." in words


def test_people_who_do_not_see_are_told_as_well(tmp_path: Path, videos: Path) -> None:
    page = written(tmp_path, videos)
    assert all("alt" in image.attributes for image in page.all("img"))
    assert all(film.attributes.get("aria-label") for film in page.all("video"))
    assert all("controls" in film.attributes for film in page.all("video"))
    lanes = page.all("div", class_="timeline")
    assert lanes
    assert all((lane.attributes["aria-label"] or "").startswith("Score over") for lane in lanes)
    assert all(span.attributes.get("aria-label") for span in page.all("a", class_="span"))


def test_an_operator_reads_the_worst_first(tmp_path: Path, videos: Path) -> None:
    page = written(tmp_path, videos)
    assert page.all("h1")[0].words() == "3 things to watch in 5 clips, 1 critical"
    assert "2 clips could not be judged and need a person" in page.all("p", class_="open")[0].words()
    first = page.all("ol", class_="first")[0].children[0]
    assert "critical" in first.words()
    assert first.all("img")
    ranks = [cell.words() for cell in page.all("td", class_="rank")]
    assert ranks == ["1", "2", "3"]


def test_the_page_says_what_the_threshold_promises_and_whether_the_future_was_used(
    tmp_path: Path, videos: Path
) -> None:
    words = written(tmp_path, videos).words()
    assert (
        "53 blocks of 5 s of normal footage (4 min 25 s); promises no fewer than 13 false events an hour: "
        "learn from more footage for a stricter promise" in words
    )
    assert "Offline: each score also uses what comes after it" in words


def test_a_video_that_is_gone_gives_an_event_without_picture_that_says_so(tmp_path: Path) -> None:
    page = parse(write_triage([clip("gone.mp4", event())], tmp_path))
    assert "no picture" in page.words()
    (record,) = ClipRunFolder(tmp_path).records()
    assert record.events[0].key_frame is None
    assert record.notes[0].startswith("No pictures of its events:")
    assert record.notes[0] in page.words()


def test_a_video_that_has_changed_is_not_shown(tmp_path: Path, videos: Path) -> None:
    write_triage([clip(str(videos / "yard.mp4"), event(), sha256="00" * 32)], tmp_path)
    (record,) = ClipRunFolder(tmp_path).records()
    assert record.events[0].key_frame is None
    assert "has changed since it was judged" in record.notes[0]


def test_a_stream_is_not_opened_again(tmp_path: Path) -> None:
    write_triage([clip("rtsp://camera/1", event())], tmp_path)
    (record,) = ClipRunFolder(tmp_path).records()
    assert "can't be read again" in record.notes[0]


def test_a_video_that_went_away_meanwhile_is_said(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", 1)
    video = open_video(tmp_path / "a.mp4")
    (tmp_path / "a.mp4").unlink()
    write_triage([clip("a.mp4", event())], tmp_path, {"a.mp4": video})
    assert "No picture of E1" in ClipRunFolder(tmp_path).records()[0].notes[0]


class BrokenVideo:
    """A video of which one frame can be read and nothing more."""

    source, sha256, size, duration, notes = "torn", None, (96, 128), 10.0, ()

    def __init__(self) -> None:
        self.reads = 0

    def frames(
        self, start: float = 0.0, stop: float | None = None, rate: float | None = None
    ) -> Sequence[Frame]:
        self.reads += 1
        if self.reads > 1:
            raise MediaError("The rest is lost.")
        return iter([Frame(0, start, np.zeros((96, 128, 3), np.uint8))])  # type: ignore[return-value]


def test_the_picture_stays_when_the_clip_can_not_be_cut(tmp_path: Path) -> None:
    torn: Video = BrokenVideo()  # type: ignore[assignment]
    write_triage([clip("torn", event())], tmp_path, {"torn": torn})
    (record,) = ClipRunFolder(tmp_path).records()
    assert record.events[0].key_frame == f"frames/{event_file_name('torn', 'E1')}.jpg"
    assert record.events[0].clip is None
    assert record.notes == ("No short clip of E1: The rest is lost.",)


def test_a_source_without_a_given_video_is_said(tmp_path: Path) -> None:
    write_triage([clip("a.mp4", event())], tmp_path, {})
    assert "was not kept" in ClipRunFolder(tmp_path).records()[0].notes[0]


def test_without_clips_only_pictures_are_made(tmp_path: Path, videos: Path) -> None:
    write_triage(everything(videos)[:1], tmp_path, clips=False)
    assert not (tmp_path / "clips").exists()
    assert ClipRunFolder(tmp_path).records()[0].events[0].clip is None


def test_beyond_a_number_of_events_only_words_are_left(
    tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder, "MAX_PICTURED_EVENTS", 1)
    yard = clip(str(videos / "yard.mp4"), event(), event("E2", 8, 9, kind="size"))
    write_triage([yard], tmp_path, clips=False)
    (record,) = ClipRunFolder(tmp_path).records()
    assert [e.key_frame is not None for e in record.events] == [True, False]
    assert record.notes == ("No pictures of 1 event beyond the first 1 by rank.",)


def pictured(folder: Path, video: Video | None) -> ClipRecord:
    """The record in a folder after another triage into it; its video is there or not."""
    write_triage(ClipRunFolder(folder).records(), folder, {} if video is None else {"yard": video})
    return ClipRunFolder(folder).records()[0]


def test_a_note_on_pictures_says_what_is_so_after_each_triage_into_a_folder(
    tmp_path: Path, videos: Path
) -> None:
    yard = open_video(videos / "yard.mp4")
    both = event(), event("E2", 2, 2.5)
    write_triage([clip("yard", *both, notes=("Another note.",))], tmp_path, {})
    assert pictured(tmp_path, None).notes[1].startswith("No pictures of its events:")
    there = pictured(tmp_path, yard)
    assert there.notes == ("Another note.",)
    assert pictured(tmp_path, None) == there
    (tmp_path / str(there.events[0].clip)).unlink()
    assert pictured(tmp_path, None).notes[1].startswith("No short clips of 1 event:")
    (tmp_path / str(there.events[0].key_frame)).unlink()
    assert pictured(tmp_path, None).notes[1].startswith("No pictures of 1 event:")
    assert pictured(tmp_path, BrokenVideo()).notes[1].startswith("No short clip of E1:")  # type: ignore[arg-type]
    assert pictured(tmp_path, yard).notes == ("Another note.",)


def test_a_picture_that_ranks_lower_by_now_is_still_there(
    tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_triage([clip("yard", event())], tmp_path, {"yard": open_video(videos / "yard.mp4")})
    monkeypatch.setattr(builder, "MAX_PICTURED_EVENTS", 0)
    assert pictured(tmp_path, None).notes == ()


def test_a_page_holds_so_many_pictures_at_most(
    tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_view, "MAX_EMBEDDED_EVENTS", 1)
    yard = clip(str(videos / "yard.mp4"), event(), event("E2", 8, 9, kind="size"))
    page = parse(write_triage([yard], tmp_path, clips=False))
    assert f"frames/{event_file_name(yard.source, 'E2')}.jpg" in page.words()
    assert len(page.all("details", class_="event")[1].all("img")) == 0


def test_a_triage_can_be_rendered_again_from_its_folder_alone(tmp_path: Path, videos: Path) -> None:
    first = write_triage(everything(videos), tmp_path, opener(videos), title="Night").read_bytes()
    assert (
        write_report(
            ClipRunFolder(tmp_path).records(), tmp_path, ClipReportView(), title="Night"
        ).read_bytes()
        == first
    )
    raised = RankAdjustment(value=1, cases=("case:1",), reason="alike to 1 escalated (case:1)")
    key = f"{videos / 'yard.mp4'}#E1"
    page = parse(write_report(ClipRunFolder(tmp_path).records(), tmp_path, ClipReportView({key: raised})))
    assert "1 step up by feedback (alike to 1 escalated (case:1))" in page.words()


def test_pictures_that_are_gone_or_lie_elsewhere_are_not_shown(tmp_path: Path, videos: Path) -> None:
    folder = tmp_path / "run"
    write_triage(everything(videos)[:1], folder)
    one, two = (event_file_name(str(videos / "yard.mp4"), id_) for id_ in ("E1", "E2"))
    (folder / "frames" / f"{one}.jpg").unlink()
    (folder / "clips" / f"{one}.mp4").unlink()
    outside = tmp_path / "secret.jpg"
    outside.write_bytes(b"\xff\xd8secret")
    rows = (folder / "clips.jsonl").read_text("utf-8").replace(f"frames/{two}.jpg", "../secret.jpg")
    (folder / "clips.jsonl").write_text(rows, "utf-8")
    page = parse(write_report(ClipRunFolder(folder).records(), folder, ClipReportView()))
    assert page.words().count("The key frame is gone.") == 2
    assert "The short clip is gone." in page.words()
    assert "c2VjcmV0" not in (folder / "triage.html").read_text("utf-8")


def test_names_of_files_do_not_depend_on_what_else_is_triaged() -> None:
    assert event_file_name("a/yard 3.mp4", "E2").startswith("yard-3-")
    assert event_file_name("a/yard 3.mp4", "E2") != event_file_name("b/yard 3.mp4", "E2")
    assert re.fullmatch(r"[\w-]+", event_file_name(NASTY + "\udcff", "E1"))
    assert re.fullmatch(r"[0-9a-f]{8}-E1", event_file_name("検査.mp4", "E1"))


def test_the_last_row_of_a_source_counts(tmp_path: Path) -> None:
    rows = [clip("a.mp4", event()), clip("b.mp4"), clip("a.mp4")]
    (tmp_path / "clips.jsonl").write_text("".join(f"{row.model_dump_json()}\n" for row in rows))
    assert ClipRunFolder(tmp_path).records() == [rows[2], rows[1]]


@pytest.mark.parametrize("rows", [None, "no json\n", '{"source": "a"}\n'])
def test_a_folder_without_readable_records_is_an_error(tmp_path: Path, rows: str | None) -> None:
    if rows is not None:
        (tmp_path / "clips.jsonl").write_text(rows)
    with pytest.raises(DataError, match=r"clips\.jsonl"):
        write_report(ClipRunFolder(tmp_path).records(), tmp_path, ClipReportView())


def test_an_empty_run_is_a_page_too(tmp_path: Path) -> None:
    page = parse(write_triage([], tmp_path))
    assert page.all("h1")[0].words() == "No clips were looked at"
    assert (tmp_path / "clips.jsonl").read_bytes() == b""
    assert write_report(ClipRunFolder(tmp_path).records(), tmp_path, ClipReportView()).is_file()


def test_long_events_are_cut_around_their_peak() -> None:
    assert builder.clip_range(event(start=5, end=8)) == (4, 9)
    assert builder.clip_range(event(start=0, end=100, peak=50)) == (40, 60)
    assert builder.clip_range(event(start=0, end=100, peak=2)) == (0, 19)
    assert builder.clip_range(event(start=0, end=100, peak=100)) == (81, 101)


def test_markdown_takes_everything_literally_and_stays_short(tmp_path: Path, videos: Path) -> None:
    many = [clip(f"{n}.mp4", event(), scene=f"s{n}") for n in range(30)]
    write_triage([nasty("a|b.mp4"), failed(), *many], tmp_path)
    text = (tmp_path / "triage.md").read_text("utf-8")
    assert text.startswith("# Video triage\n\n**32 things to watch in 32 clips, 1 critical.**")
    assert "And 12 more in triage.html." in text
    assert "This is \\<not\\> a video." in text
    assert "`a\\|b.mp4`" in text
    assert not re.search(r"(?<!\\)<b>", text)


def test_the_table_lists_alerts_and_what_stays_open(videos: Path) -> None:
    console = Console(width=120)
    records = everything(videos)
    with console.capture() as capture:
        console.print(triage_table(records))
    text = capture.get()
    assert "critical" in text
    assert "Asked for: <b>running</b>." in text
    assert "broken.mp4: This is <not> a video." in text
    assert "dark.mp4 0:01–0:10" in text


@pytest.mark.parametrize(
    ("records", "colour", "said"),
    [
        ([clip("calm.mp4")], "32", "Nothing stood out."),
        ([dark()], "33", "The clip could not be judged."),
        ([failed(), dark()], "33", "None of 2 clips could be judged."),
        ([clip("calm.mp4"), failed()], "33", "Nothing stood out in 1 of 2 clips; the others could"),
        ([], "33", "No clips were looked at."),
    ],
)
def test_a_table_without_alerts_is_calm_only_where_all_was_judged(
    records: list[ClipRecord], colour: str, said: str
) -> None:
    console = Console(width=120, force_terminal=True, color_system="standard", no_color=False)
    with console.capture() as capture:
        console.print(triage_table(records))
    assert f"\x1b[{colour}m{said}" in capture.get()
