"""Chat templates: LangChain messages to the inputs of a transformers processor (text and pictures).

Control tokens of the model in the text of messages are broken up, so that a file name or a caption can't end
a message or begin one (prompt injection).
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anomalist.agent.models.text_only import TextProcessor
from anomalist.errors import ModelError

if TYPE_CHECKING:
    import torch
    from langchain_core.messages import BaseMessage
    from PIL.Image import Image


TEXT_ONLY_REMEDY = "Name a vision-language model, or none: measurements need none."
"""What to do where a model that reads text only is to look at a picture."""

# LangChain message type to role in chat templates.
ROLES = {"system": "system", "human": "user", "ai": "assistant"}
DATA_URL = re.compile(r"data:[^;,]*;base64,(.*)", re.DOTALL)


@dataclass(frozen=True, eq=False)
class PromptInputs:
    """A tokenised conversation.

    Parameters
    ----------
    inputs : output of the processor, with ``input_ids`` int64 (1, length).
    pictures : the pictures in order; equal pictures are the same object.
    """

    inputs: dict[str, torch.Tensor]
    pictures: tuple[Image, ...]

    @property
    def length(self) -> int:
        """Number of tokens, including those of pictures."""
        return int(self.inputs["input_ids"].shape[1])


def prepare_inputs(
    processor: Any,  # noqa: ANN401
    messages: Sequence[BaseMessage],
    picture: Callable[[str], Image] | None = None,
) -> PromptInputs:
    """Apply the chat template to messages, with a generation prompt; control tokens in texts are broken up.

    Parameters
    ----------
    processor : of the model.
    messages : system, human and AI messages with text and pictures.
    picture : decodes base64 to a picture, by default `decode_picture`; a cached one decodes each only once.

    Raises
    ------
    ModelError : a block that isn't text or picture, a picture that can't be read, a conversation that the
        model's template refuses, or a picture without a placeholder in the template.
    """
    control = control_tokens(processor.tokenizer)
    conversation = [_chat_turn(message, control, picture or decode_picture) for message in messages]
    pictures = [block["image"] for turn in conversation for block in turn["content"] if "image" in block]
    if pictures and isinstance(processor, TextProcessor):
        raise ModelError("This model reads text only: it can't be shown pictures.", TEXT_ONLY_REMEDY)
    try:
        template = processor.chat_template or processor.tokenizer.chat_template
        inputs = processor.apply_chat_template(
            conversation,
            chat_template=template,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"return_text_replacement_offsets": True},
        )
    except Exception as error:  # templates and processors raise anything
        reason = " ".join(str(error).split())
        raise ModelError(f"This model can't take this conversation: {reason}") from error
    offsets = inputs.pop("text_replacement_offsets", None)
    if pictures:
        taken = sum(each["type"] == "image" for each in offsets[0]) if offsets else 0
        # Processors without offsets compare placeholders and pictures themselves.
        if "pixel_values" not in inputs or (offsets is not None and taken != len(pictures)):
            raise ModelError(f"Of {len(pictures)} pictures, {taken} would reach this model.")
    return PromptInputs(dict(inputs), tuple(pictures))


def control_tokens(tokenizer: Any) -> re.Pattern[str]:  # noqa: ANN401
    """Pattern that matches the added tokens of a tokenizer, ``<|im_end|>`` for example."""
    contents = {token.content for token in tokenizer.added_tokens_decoder.values()}
    words = sorted((text for text in contents if len(text.strip()) > 1), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, words)) or r"(?!)")


def decode_picture(data: str) -> Image:
    """Decode a picture from base64.

    Raises
    ------
    ModelError : not base64, or not a picture.
    """
    from PIL import Image

    try:
        return Image.open(io.BytesIO(base64.b64decode(data, validate=True))).convert("RGB")
    except (binascii.Error, ValueError, OSError, Image.DecompressionBombError) as error:
        raise ModelError(f"A picture in the conversation can't be read: {error}.") from error


def _chat_turn(
    message: BaseMessage, control: re.Pattern[str], picture: Callable[[str], Image]
) -> dict[str, Any]:
    """Return a message in the format of chat templates."""
    role = ROLES.get(message.type)
    if role is None:
        raise ModelError(f"A local model takes no message of type {message.type!r}.")
    content = [message.content] if isinstance(message.content, str) else message.content
    return {"role": role, "content": [_content_block(each, control, picture) for each in content]}


def _content_block(
    block: str | Mapping[Any, Any], control: re.Pattern[str], picture: Callable[[str], Image]
) -> dict[str, Any]:
    """Return a content block in the format of chat templates, with pictures decoded."""
    match block:
        case str(text) | {"type": "text", "text": str(text)}:
            return {"type": "text", "text": control.sub(_split_control_token, text)}
        case {"type": "image", "base64": str(data)} | {
            "type": "image",
            "source_type": "base64",
            "data": str(data),
        }:
            return {"type": "image", "image": picture(data)}
        case {"type": "image_url", "image_url": str(url) | {"url": str(url)}} if found := DATA_URL.match(url):
            return {"type": "image", "image": picture(found.group(1))}
        case {"type": "image" | "image_url"}:
            raise ModelError("A local model takes pictures from the message only (base64), not by reference.")
        case {"type": "video"}:
            raise ModelError("A local model takes no videos.", "Give frames of it as pictures.")
        case _:
            kind = block.get("type") if isinstance(block, Mapping) else type(block).__name__
            raise ModelError(f"A local model takes text and pictures, not {kind!r}.")


def _split_control_token(found: re.Match[str]) -> str:
    """Insert a blank after the first character, so that a control token is tokenised as text."""
    return f"{found.group()[0]} {found.group()[1:]}"
