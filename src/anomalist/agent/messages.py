"""Messages to a chat model: prompts as text, pictures as LangChain's standard image blocks."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from anomalist.prompts.fence import defuse
from anomalist.prompts.rendering import Prompt
from anomalist.types import UInt8Array

PROMPT_KEY = "prompt"
"""Under this name a message carries the id of its prompt, for whoever replays; it is not sent anywhere."""


def image_block(pixels: UInt8Array) -> dict[str, Any]:
    """Encode uint8 (H, W, 3), RGB, as a PNG in a standard content block."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)  # it is not kept: fast before small
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return {"type": "image", "base64": encoded, "mime_type": "image/png"}


def system_message(prompt: Prompt) -> SystemMessage:
    """Make the message that sets the rules."""
    return SystemMessage(prompt.text, additional_kwargs={PROMPT_KEY: prompt.id})


def user_message(prompt: Prompt, pictures: Sequence[UInt8Array] = ()) -> HumanMessage:
    """Make a message of pictures, in this order, and the prompt after them.

    Parameters
    ----------
    prompt : what is asked.
    pictures : uint8 (H, W, 3) each, any size.
    """
    content: list[str | dict[Any, Any]] = [
        *(image_block(pixels) for pixels in pictures),
        {"type": "text", "text": prompt.text},
    ]
    return HumanMessage(content=content, additional_kwargs={PROMPT_KEY: prompt.id})


def retry_message(prompt: Prompt, messages: Sequence[BaseMessage]) -> HumanMessage:
    """Make the message that sends a reply to ``messages`` back; it still stands for the same question."""
    return HumanMessage(prompt.text, additional_kwargs={PROMPT_KEY: prompt_id(messages)})


def model_message(text: str) -> AIMessage:
    """Make a message of what the model said before, without anything that a tokeniser takes for a command."""
    return AIMessage(defuse(text))


def prompt_id(messages: Sequence[BaseMessage]) -> str | None:
    """Return the id of the prompt that is to be answered, or None where there is none."""
    asked = [message.additional_kwargs.get(PROMPT_KEY) for message in messages if message.type == "human"]
    return asked[-1] if asked else None
