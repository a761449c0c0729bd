"""Questions and conversations about inspected pictures and runs."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import Field

from anomalist.agent.chat.guardrails import gives_feedback
from anomalist.server.access import MayView, ServicesOf
from anomalist.server.accounts import Caller
from anomalist.server.events import stream_work
from anomalist.server.problems import ForbiddenError, RequestError
from anomalist.server.routes.pictures import InspectionId, RunName
from anomalist.server.talks import About
from anomalist.types.common import Answer, Frozen

router = APIRouter(tags=["questions"])

ConversationName = Annotated[str, Field(pattern=r"^[\w .:+-]{1,80}$")]


class AboutBody(Frozen):
    """What a question is about: inspected pictures, or a run."""

    inspections: tuple[InspectionId, ...] = Field((), max_length=200)
    run: RunName | None = None

    def about(self) -> About:
        """As services take it. Raises RequestError unless it is one of the two."""
        if bool(self.inspections) == bool(self.run):
            raise RequestError("What is it about?", "Give inspections, or a run.")
        return About(self.inspections, self.run or "")


class AskBody(AboutBody):
    """A question, with options to choose from if any."""

    question: str = Field(min_length=1, max_length=4000)
    options: tuple[Annotated[str, Field(min_length=1, max_length=400)], ...] = Field((), max_length=26)


class SayBody(AboutBody):
    """What is said in a conversation; what it is about is named at its beginning."""

    text: str = Field(min_length=1, max_length=4000)


@router.post("/ask", summary="Ask one question")
async def ask(services: ServicesOf, caller: MayView, body: AskBody) -> Answer:
    """Answered from what was measured; each sentence names what it rests on."""
    about = body.about()
    corrects = await _may_say(caller, body.question)
    future = services.talks.ask(about, body.question, body.options, caller.name, corrects=corrects)
    return await asyncio.wrap_future(future)


@router.post(
    "/conversations/{name}",
    summary="Say something in a conversation",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def say(
    services: ServicesOf, caller: MayView, name: ConversationName, body: SayBody
) -> StreamingResponse:
    """Server-sent events: ``text`` and ``tool`` while it is answered, then ``answer``, or ``error``.

    Corrections ("this is fine", "this is a scratch") are stored for those who may work.
    """
    named = body.inspections or body.run
    about = body.about() if named else None
    corrects = await _may_say(caller, body.text)
    return await stream_work(
        lambda emit: services.talks.say(
            name,
            about,
            body.text,
            lambda each: emit(each.what, {"text": each.text}),
            caller.name,
            corrects=corrects,
        ),
        "answer",
    )


async def _may_say(caller: Caller, text: str) -> bool:
    """Whether somebody may correct. Raises ForbiddenError where they may not and the text does."""
    corrects = caller.may("work")
    if not corrects and await asyncio.to_thread(gives_feedback, text):
        raise ForbiddenError(f"The role {caller.role} may ask, and not correct.", "Ask an operator.")
    return corrects


@router.get("/conversations/{name}", summary="The answers of a conversation")
def get_conversation(services: ServicesOf, _: MayView, name: ConversationName) -> list[Answer]:
    """In order."""
    return list(services.talks.answers(name))
