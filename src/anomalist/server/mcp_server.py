"""Model Context Protocol server: the agent's tools for any assistant, and checks of what it says.

An assistant opens a run or a picture, reads findings with the ids that they rest on, and has its own
sentences checked against the evidence. Tools that store what people say are left out: only a person gives
feedback.
Needs the package mcp.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import Field

from anomalist import __version__
from anomalist.agent.asking.answering import answer
from anomalist.agent.tools import TOOLS
from anomalist.agent.tools.claims import check_claim
from anomalist.agent.tools.memory import record_feedback, undo_feedback
from anomalist.agent.tools.selection import call_selection_fine
from anomalist.agent.tools.subject import Result, Subject
from anomalist.audit.recording import record_answer
from anomalist.errors import AnomalistError, DataError
from anomalist.subjects import open_subject
from anomalist.types.common import Answer, Frozen, UInt8Array

if TYPE_CHECKING:
    from mcp.server import MCPServer

INSTRUCTIONS = """\
anomalist measures pictures and clips and records verdicts. Open a run folder, pictures or a clip with
open_subject, then read findings with the other tools. Every result names the ids (R1, E2, score, case:12)
that a sentence about it may cite. Before you state something about a picture, clip or run, pass the sentence
to check_claim: say only what is borne out, correct what is contradicted, and mark what is not testable as
your own opinion. The recorded verdict stands; you do not change it."""

MAX_LISTED = 200
"""Pictures and clips that are named when a subject is opened; all can be named by their file names."""

PICTURE_SIDE = 1024
"""Longer side of the pictures that are given out, pixels."""

_PEOPLE_ONLY = (record_feedback, undo_feedback, call_selection_fine)


class OpenedPictures(Frozen):
    """What is open now."""

    name: str
    pictures: tuple[str, ...] = Field(description="the n-th is the resource picture://n and marked://n")
    clips: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(eq=False)
class _Session:
    """What the assistant talks about, and where it may look."""

    roots: tuple[Path, ...]
    profile: str | None
    reference: Path | None
    subject: Subject = field(default_factory=Subject)
    earlier: tuple[Answer, ...] = ()
    lock: threading.RLock = field(default_factory=threading.RLock)

    def open(self, paths: Sequence[str]) -> OpenedPictures:
        """Open files below the roots; raises DataError for any other."""
        return self.listed(self.hold([self.allowed(path) for path in paths]))

    def hold(self, chosen: Sequence[Path]) -> str:
        """Open files, for questions alone; returns how they are called."""
        opened = open_subject(chosen, self.profile, self.reference, None)
        self.subject, self.earlier = replace(opened.subject, takes_feedback=False), ()
        return opened.name

    def allowed(self, path: str) -> Path:
        """A path below one of the roots, links followed; raises DataError for any other."""
        for root in self.roots:
            try:
                found = (root / path).resolve()
                if found.is_relative_to(root):
                    found.exists()
                    return found
            except (OSError, ValueError) as error:  # too long, or with characters that no path has
                raise DataError(f"{path[:80]!r} can't be a path.", "Name a file that is there.") from error
        raise DataError(
            f"{path} is not in a folder that may be read.",
            f"Those are: {', '.join(map(str, self.roots))}. Start the server with --root for another.",
        )

    def listed(self, name: str) -> OpenedPictures:
        """The names of what is open."""
        pictures = tuple(record.source for record in self.subject.records)
        clips = tuple(clip.source for clip in self.subject.clips)
        left = max(0, len(pictures) - MAX_LISTED) + max(0, len(clips) - MAX_LISTED)
        notes = (f"{left} more are open; query_records lists them",) if left else ()
        return OpenedPictures(
            name=name, pictures=pictures[:MAX_LISTED], clips=clips[:MAX_LISTED], notes=notes
        )


@contextmanager
def _telling(session: _Session, told: type[Exception]) -> Iterator[None]:
    """Hold the session, and tell the assistant what a user can mend."""
    with session.lock:
        try:
            yield
        except AnomalistError as error:
            raise told(str(error)) from error


def build_server(
    roots: Sequence[Path],
    what: Sequence[Path] = (),
    *,
    profile: str | None = None,
    reference: Path | None = None,
) -> MCPServer:
    """Build the MCP server.

    Parameters
    ----------
    roots : folders whose files may be opened.
    what : a run folder, pictures or a clip that is open from the start.
    profile, reference : what pictures are compared with.

    Raises
    ------
    AnomalistError : what is to be opened can't be.
    """
    from mcp.server import MCPServer

    session = _Session(tuple(root.resolve() for root in roots), profile, reference)
    if what:
        session.hold([path.resolve() for path in what])
    server = MCPServer("anomalist", instructions=INSTRUCTIONS, version=__version__, log_level="WARNING")
    for tool in (*(each for each in TOOLS if each not in _PEOPLE_ONLY), check_claim):
        server.add_tool(_bound(tool, session), annotations=_read_only())
    _add_own_tools(server, session)
    _add_resources(server, session)
    return server


def _read_only() -> Any:  # noqa: ANN401
    from mcp.types import ToolAnnotations

    return ToolAnnotations(read_only_hint=True, open_world_hint=False)


def _bound(tool: Callable[..., Result], session: _Session) -> Callable[..., Result]:
    """A tool without its subject, which is that of the session; errors that a user can mend are told."""
    from mcp.server.mcpserver.exceptions import ToolError

    def call(**arguments: Any) -> Result:  # noqa: ANN401
        with _telling(session, ToolError):
            if "path" in arguments:
                arguments["path"] = str(session.allowed(arguments["path"]))
            return tool(session.subject, **arguments)

    hints = get_type_hints(tool)
    own = list(inspect.signature(tool).parameters.values())[1:]
    parameters = [
        each.replace(annotation=hints[each.name], kind=inspect.Parameter.KEYWORD_ONLY) for each in own
    ]
    call.__name__, call.__doc__ = tool.__name__, inspect.getdoc(tool)
    call.__annotations__ = {each.name: hints[each.name] for each in own} | {"return": hints["return"]}
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        parameters, return_annotation=hints["return"]
    )
    return call


def _add_own_tools(server: MCPServer, session: _Session) -> None:
    from mcp.server.mcpserver.exceptions import ToolError

    def opened(paths: list[str]) -> OpenedPictures:
        """Open a run folder, pictures, folders of pictures, or one clip: what all other tools are about.

        Pictures are inspected with the profile or reference that the server was started with.
        """
        with _telling(session, ToolError):
            return session.open(paths)

    def ask(question: str, options: list[str] | None = None) -> Answer:
        """Ask about what is open, in English; answered by measurement, with sentences that cite evidence.

        ``options`` makes it a multiple-choice question. A follow-up keeps what was talked about.
        """
        with _telling(session, ToolError):
            reply = answer(session.subject, question, options or (), earlier=session.earlier)
            record_answer(reply, session.profile)
            session.earlier = (*session.earlier, reply)
            return reply

    server.add_tool(opened, name="open_subject")
    server.add_tool(ask)


def _add_resources(server: MCPServer, session: _Session) -> None:
    from mcp.server.mcpserver.exceptions import ResourceError

    def picture_of(number: str, *, marked: bool) -> bytes:
        with _telling(session, ResourceError):
            records = session.subject.records
            if not number.isdecimal() or not 1 <= int(number) <= len(records):
                raise DataError(f"There is no picture {number}; 1 to {len(records)} are open.")
            return _as_png(session.subject, int(number) - 1, marked=marked)

    @server.resource("picture://{number}", mime_type="image/png", description="The n-th picture, as it is.")
    def picture(number: str) -> bytes:
        return picture_of(number, marked=False)

    @server.resource(
        "marked://{number}", mime_type="image/png", description="The n-th picture with its regions."
    )
    def marked(number: str) -> bytes:
        return picture_of(number, marked=True)


def _as_png(subject: Subject, place: int, *, marked: bool) -> bytes:
    import io

    from PIL import Image

    from anomalist.vision.drawing import overlay

    record = subject.records[place]
    pixels: UInt8Array = subject.media(record).pixels
    shown = overlay(pixels, None, record.regions, max_side=PICTURE_SIDE) if marked else pixels
    image = Image.fromarray(shown)
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    held = io.BytesIO()
    image.save(held, "PNG")
    return held.getvalue()
