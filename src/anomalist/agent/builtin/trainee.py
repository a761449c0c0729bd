"""The small model while it learns: with heads for what the eye learns by itself, and its losses.

Import this inside functions only: it needs torch.
"""

from __future__ import annotations

from typing import Any

import torch

from anomalist.agent.builtin.architecture import MEANT_AFTER
from anomalist.agent.builtin.packing import LABELS, Batch
from anomalist.agent.builtin.showing import BESIDE, CELLS, HALF, IGNORED
from anomalist.vision.drawn.facts import DEFECT_KINDS


class Trainee(torch.nn.Module):
    """The network, with heads for what the eye learns by itself, which don't ship."""

    def __init__(self, network: Any, first_weight: float = 1.0) -> None:  # noqa: ANN401
        super().__init__()
        self.network, self.first_weight = network, first_weight
        network.model.vision_tower.to(memory_format=torch.channels_last)  # half as slow again otherwise
        width = network.config.vision_config.hidden_size
        self.cells = torch.nn.Linear(width, BESIDE + 1)
        self.compared = Compared(width)
        self.changes = torch.nn.Linear(width, len(DEFECT_KINDS))
        self.facts = torch.nn.ModuleList(
            torch.nn.Linear(3 * width, len(values)) for values in LABELS.values()
        )

    def forward(self, batch: Batch, *, half: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the losses of the words, of what letters mean and of what the eye learns by itself.

        0 where there is nothing of the kind.
        """
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            pixels = torch.from_numpy(batch.pictures)
            pixels = (pixels.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
            if len(pixels):
                seen = self.network.model.vision_tower(pixels).last_hidden_state.flatten(2).transpose(1, 2)
                eye = self._eye_loss(seen, batch)
            else:
                seen, eye = None, torch.zeros(())
            words, meant = self._words_loss(seen, batch) if batch.ids.size else (torch.zeros(()),) * 2
        return words, meant, eye

    def _eye_loss(self, seen: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Tell each cell by itself and beside its counterpart, and each fact from a closer look."""
        grids = torch.from_numpy(batch.grids)
        halves = seen.reshape(len(seen), CELLS, 2, HALF, -1)
        left, right = (halves[:, :, half].flatten(1, 2) for half in (0, 1))  # (n, cells, width) each
        both = self.compared(left, right)
        close = torch.where(grids < len(DEFECT_KINDS), grids, IGNORED)[:, :, :HALF]
        cells = _known(self.cells(seen).float().flatten(0, 1), grids.flatten(), IGNORED)
        changes = _known(self.changes(both).float().flatten(0, 1), close.flatten(), IGNORED)
        pooled = torch.cat([both.mean(1), both.amax(1), left.amax(1)], -1)
        facts = [
            _known(head(pooled).float(), torch.from_numpy(batch.labels[:, at]), -1)
            for at, head in enumerate(self.facts)
        ]
        return cells + changes + sum(facts) / len(facts)

    def _words_loss(self, seen: torch.Tensor | None, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        model = self.network.model
        ids = torch.from_numpy(batch.ids).long()
        embedded = model.get_input_embeddings()(ids)
        if seen is not None:
            shown = model.multi_modal_projector(seen).reshape(-1, embedded.shape[-1]).to(embedded.dtype)
            at = (ids == self.network.config.image_token_id)[..., None].expand_as(embedded)
            embedded = embedded.masked_scatter(at, shown)
        voice = model.language_model(
            inputs_embeds=embedded,
            attention_mask=torch.from_numpy(batch.sees())[:, None],
            position_ids=torch.from_numpy(batch.positions).long(),
            use_cache=False,
            output_hidden_states=True,
        )
        hidden = voice.last_hidden_state
        meant = self._meant_loss(voice.hidden_states[MEANT_AFTER][:, :-1], batch)
        own = torch.from_numpy(batch.own)
        first = own[:, 1:] & ~own[:, :-1]
        own = own[:, 1:]
        losses = torch.nn.functional.cross_entropy(
            self.network.lm_head(hidden[:, :-1][own]).float(), ids[:, 1:][own], reduction="none"
        )
        weights = 1 + (self.first_weight - 1) * first[own].float()
        return (weights * losses).sum() / weights.sum(), meant

    def _meant_loss(self, hidden: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Tell, before a letter is looked for, what the option with it will say: each of its first tokens."""
        means = torch.from_numpy(batch.means)[:, 1:].long()
        letters = means[..., 0] >= 0
        thought = self.network.lm_head(self.network.model.language_model.norm(hidden[letters])).float()
        logs, tokens = thought.log_softmax(-1), means[letters]
        said = tokens >= 0
        each: torch.Tensor = logs.gather(1, tokens.clamp(min=0)) * said / said.sum(1, keepdim=True)
        return -each.sum() / max(1, len(tokens))


class Compared(torch.nn.Module):
    """Each cell of a left half beside its counterpart in the right one, (n, cells, width) each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(width, width) for _ in range(3))
        self.norm = torch.nn.LayerNorm(width)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Return what is different, by features, (n, cells, width)."""
        of_left, of_right, further = self.layers
        beside = torch.nn.functional.gelu(self.norm(of_left(left) + of_right(right)))
        return torch.nn.functional.gelu(further(beside))


def _known(logits: torch.Tensor, labels: torch.Tensor, unknown: int) -> torch.Tensor:
    """Cross entropy over what has a label; nothing where none has."""
    counted = labels != unknown
    if not counted.any():
        return logits.sum() * 0
    return torch.nn.functional.cross_entropy(logits[counted], labels[counted].long())
