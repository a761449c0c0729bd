"""The tools by the Model Context Protocol, driven by the SDK's own client."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Coroutine
from io import BytesIO
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from PIL import Image

from anomalist.memory.cases import list_cases
from anomalist.server.mcp_server import build_server
from anomalist.vision.profile import Profile
from tests.pictures import holed, tile, write

Talk = Callable[[Client], Coroutine[Any, Any, None]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "parts" / "bad.png", holed(801))
    write(tmp_path / "parts" / "good.png", tile(803))
    return tmp_path


def talk_to(server: Any, talk: Talk) -> None:
    async def held() -> None:
        async with Client(server) as client:
            await talk(client)

    anyio.run(held)


async def call(client: Client, name: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


async def refusal(client: Client, name: str, **arguments: Any) -> str:
    result = await client.call_tool(name, arguments)
    assert result.is_error
    return " ".join(getattr(each, "text", "") for each in result.content)


def test_an_assistant_opens_pictures_reads_ids_and_has_its_sentences_checked(
    folder: Path, tiles_profile: Profile
) -> None:
    async def talk(client: Client) -> None:
        opened = await call(client, "open_subject", paths=["parts"])
        assert [Path(name).name for name in opened["pictures"]] == ["bad.png", "good.png"]
        found = await call(client, "show_findings", picture="bad.png")
        assert found["label"] == "anomalous" and {"score", "R1"} <= set(found["ids"])
        for sentence, status in (
            ("There is a hole.", "borne out"),
            ("Everything is fine.", "contradicted"),
            ("The hole was drilled by hand on Monday.", "not testable"),
        ):
            checked = await call(client, "check_claim", sentence=sentence, picture="bad.png")
            assert (checked["status"], bool(checked["why"])) == (status, True)
        counted = await call(client, "check_claim", sentence="1 of 2 pictures is anomalous.")
        assert counted["status"] == "borne out"
        asked = await call(client, "ask", question="How many pictures are anomalous?")
        assert asked["answered"] and "1" in asked["text"]
        for said in ("bad.png is fine.", "All of these are fine.", "Undo case:1."):
            await call(client, "ask", question="Which pictures are anomalous?")
            await client.call_tool("ask", {"question": said})
        assert list_cases() == (), "only people say what is right"
        await call(client, "open_subject", paths=["parts/bad.png"])
        refused = await call(client, "ask", question="This is fine.")
        assert not refused["answered"]
        assert "not taken here" in refused["text"]

    talk_to(build_server([folder], profile=str(tiles_profile.path)), talk)


def test_pictures_are_resources_with_and_without_marks(folder: Path, tiles_profile: Profile) -> None:
    async def talk(client: Client) -> None:
        await call(client, "open_subject", paths=["parts"])
        shown = []
        for uri in ("picture://1", "marked://1"):
            (content,) = (await client.read_resource(uri)).contents
            shown.append(Image.open(BytesIO(base64.b64decode(content.blob))))  # type: ignore[union-attr]
        plain, marked = shown
        assert plain.size == (64, 64)
        assert max(marked.size) == 1024
        for none in ("7", "²"):
            with pytest.raises(Exception, match=f"There is no picture {none}"):
                await client.read_resource(f"picture://{none}")

    talk_to(build_server([folder], profile=str(tiles_profile.path)), talk)


@pytest.mark.parametrize("path", ["/etc", "../outside", "link", "parts/../../outside"])
def test_nothing_outside_the_roots_is_opened(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, path: str
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    write(outside / "secret.png", tile(1))
    (folder / "link").symlink_to(outside)

    async def talk(client: Client) -> None:
        for name, arguments in (("open_subject", {"paths": [path]}), ("inspect_picture", {"path": path})):
            assert "not in a folder that may be read" in await refusal(client, name, **arguments)

    talk_to(build_server([folder]), talk)


@pytest.mark.parametrize("path", ["a\0b.png", "x" * 5000])
def test_what_can_not_be_a_path_is_refused(folder: Path, path: str) -> None:
    async def talk(client: Client) -> None:
        for name, arguments in (("open_subject", {"paths": [path]}), ("inspect_picture", {"path": path})):
            assert "can't be a path" in await refusal(client, name, **arguments)

    talk_to(build_server([folder]), talk)


def test_what_people_alone_may_do_is_no_tool_and_the_rest_is_described(folder: Path) -> None:
    async def talk(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert not {"record_feedback", "undo_feedback", "call_selection_fine"} & set(tools)
        assert {"open_subject", "check_claim", "ask", "query_records", "list_events"} <= set(tools)
        assert all(tool.description for tool in tools.values())
        assert "subject" not in json.dumps([tool.input_schema for tool in tools.values()])
        assert "There is no" in await refusal(client, "show_findings")

    talk_to(build_server([folder]), talk)


def test_the_command_serves_stdio(folder: Path) -> None:
    code = "from anomalist.cli.app import main; main()"
    parameters = StdioServerParameters(command=sys.executable, args=["-c", code, "mcp"], cwd=folder)

    async def talk(client: Client) -> None:
        opened = await call(client, "open_subject", paths=["parts/bad.png"])
        assert len(opened["pictures"]) == 1
        found = await call(client, "show_findings")
        assert found["score"] is not None

    talk_to(parameters, talk)
