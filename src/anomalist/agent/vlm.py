"""The reasoner with a language model: it looks twice, and what it says is held against the evidence.

First it describes the whole picture, then it sees the suspicious places closer, with the numbers and what
memory recalls, and judges. What it says becomes a verdict in `anomalist.agent.judgement`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from anomalist.agent.guidance import NO_GUIDANCE, Guidance
from anomalist.agent.judgement import Heard, cited, verdict_of
from anomalist.agent.looks import NormalCrop, closer, no_normal, whole
from anomalist.agent.messages import model_message, system_message, user_message
from anomalist.agent.policy import Policy
from anomalist.agent.structured import Listener, Reply, ask
from anomalist.agent.two_looks import first_look, second_look
from anomalist.prompts.rendering import Prompt, prompt_ids, render, template_sha256
from anomalist.prompts.replies import Description, Judgement, written
from anomalist.types import Evidence, Media, PromptUsed, Recall, Verdict

SYSTEM = "system.v1"

REGIONS_SHOWN = 3
"""Regions that get a closer look; each costs a few hundred tokens."""

TIMEOUT = 600.0


@dataclass(frozen=True, eq=False)
class ModelReasoner:
    """Asks a language model about the evidence. The label follows the policy, never the model alone.

    Parameters
    ----------
    model : a LangChain chat model that takes pictures.
    name : which model, with its quantisation, as it goes into the record.
    guidance : what the user says in words.
    normal_crop : what is normal at the place of a region; nothing is known by default.
    timeout : seconds that one reply may take; None for no limit.
    listener : hears the replies as they are written.
    """

    model: BaseChatModel
    name: str
    guidance: Guidance = NO_GUIDANCE
    normal_crop: NormalCrop = no_normal
    timeout: float | None = TIMEOUT
    listener: Listener | None = None

    @property
    def digest(self) -> str:
        """Hex SHA-256 of what its verdicts depend on: the model's name, the prompts, the user's words."""
        prompts = [template_sha256(name) for name in prompt_ids()]
        content = [self.name, prompts, asdict(self.guidance)]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def judge(self, media: Media, evidence: Evidence, recall: Recall, policy: Policy) -> Verdict:
        """Describe, judge, and put both together with what was measured.

        Raises
        ------
        ModelError : the model can't be reached, broke off, ran out of memory or took too long.
        """
        heard = self._listen(media, evidence, recall)
        return verdict_of(heard, self.name, media, evidence, recall, policy)

    def _listen(self, media: Media, evidence: Evidence, recall: Recall) -> Heard:
        """Have the two looks described and judged; without a description there is no judgement."""
        system = render(SYSTEM)
        first = first_look(media, evidence, self.guidance)
        messages: list[BaseMessage] = [system_message(system), user_message(first, [whole(media, evidence)])]
        described = ask(self.model, messages, Description, timeout=self.timeout, listener=self.listener)
        heard = _with(Heard(), described, [system, first])
        if described.value is None:
            return heard
        description, heard = _grounded(described.value, evidence, heard)
        views = [
            closer(media, evidence, region, self.normal_crop(media, region))
            for region in evidence.regions[:REGIONS_SHOWN]
        ]
        captions = [view.caption for view in views]
        second = second_look(media, evidence, recall, self.guidance, captions, description.text_seen)
        messages += [
            model_message(written(description)),
            user_message(second, [view.pixels for view in views]),
        ]
        judged = ask(self.model, messages, Judgement, timeout=self.timeout, listener=self.listener)
        return replace(_with(heard, judged, [second]), judgement=judged.value)


def _with(heard: Heard, reply: Reply[Description] | Reply[Judgement], sent: Sequence[Prompt]) -> Heard:
    """Add one exchange to what was heard."""
    used = (PromptUsed(id=prompt.id, sha256=prompt.sha256) for prompt in (*sent, *reply.retries))
    return replace(
        heard,
        prompts=(*heard.prompts, *used),
        replies=(*heard.replies, *reply.raw),
        tries=len(reply.raw),
        problem=reply.problems[-1] if reply.value is None else None,
    )


def _grounded(description: Description, evidence: Evidence, heard: Heard) -> tuple[Description, Heard]:
    """Leave out what was seen in regions that don't exist, before it can lead the judgement astray."""
    known = {region.id for region in evidence.regions}
    kept = tuple(seen for seen in description.observations if known.issuperset(seen.evidence))
    invented = tuple(cited(seen.text, seen.evidence) for seen in description.observations if seen not in kept)
    return description.model_copy(update={"observations": kept}), replace(heard, dropped=invented)
