"""Peers in an environment of their own: a script and its interpreter, spoken to over files.

In a folder of its own the script finds ``learn/`` (normal pictures), ``score/`` (pictures without any label,
PNG under numbers for names) and ``request.json``: ``format``, ``model``, ``options``, ``seed``, and the names
of the pictures to ``score``, in order. It writes ``result.json``: ``scores`` in that order, higher is more
anomalous; ``maps``, each a ``.npy`` file of float32 (h, w) on a grid of its own, or null; ``learn_seconds``,
``score_seconds``, ``peak_memory_mb`` and ``versions``.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
from pydantic import Field, ValidationError

from anomalist.errors import DetectorError
from anomalist.eval.peers.anomalib_peer import NOT_INSTALLED
from anomalist.types.common import FloatArray, Frozen
from anomalist.vision.media.images import load_image

FORMAT = 1
SHIPPED = Path(__file__).with_name("anomalib_peer.py")
ANOMALIB, SCRIPT = "anomalib", "peer"
"""Kinds of peers that have an interpreter of their own."""
_LAST_LINES = 3


@dataclass(frozen=True, eq=False)
class PeerScores:
    """What a peer gave n pictures.

    Parameters
    ----------
    scores : n of them, finite, higher is more anomalous.
    maps : n anomaly maps, float32 (h, w) on grids of their own, finite; or None each.
    learn_seconds, score_seconds, peak_memory_mb : what it cost, as far as it is known.
    version : of the peer, in words.
    """

    scores: Sequence[float]
    maps: Sequence[FloatArray | None]
    learn_seconds: float
    score_seconds: float
    peak_memory_mb: float | None = None
    version: str = ""


@dataclass(frozen=True)
class ScriptPeer:
    """A script that learns and scores, and the interpreter that runs it.

    Parameters
    ----------
    name : as it goes into results.
    script : its file.
    python : the interpreter.
    model : which of its models.
    options : of the model, by name.
    """

    name: str
    script: Path
    python: Path
    model: str
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, learn: Sequence[Path], score: Sequence[Path], seed: int, folder: Path) -> PeerScores:
        """Learn from pictures and score others, in an empty folder.

        Raises
        ------
        DetectorError : the interpreter is missing or lacks what the peer needs, the script fails, or what it
            wrote is not what was asked for.
        """
        _write_pictures(learn, folder / "learn")
        names = _write_pictures(score, folder / "score")
        request = {
            "format": FORMAT,
            "model": self.model,
            "options": self.options,
            "seed": seed,
            "score": names,
        }
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        self._run(folder)
        return self._read(folder, len(score))

    def _run(self, folder: Path) -> None:
        try:
            done = subprocess.run(
                [self.python, self.script, folder], capture_output=True, text=True, errors="replace"
            )
        except OSError as error:
            raise DetectorError(
                f"The interpreter {self.python} can't be run: {error.strerror or error}.",
                "Name one with --peer-python.",
            ) from error
        said = " ".join(done.stderr.strip().splitlines()[-_LAST_LINES:])
        if done.returncode == NOT_INSTALLED:
            raise DetectorError(
                f"{self.python} lacks what {self.name} needs: {said}.",
                "Install it there, in an environment of its own, and name that by --peer-python.",
            )
        if done.returncode:
            raise DetectorError(f"{self.name} failed with status {done.returncode}: {said}")

    def _read(self, folder: Path, count: int) -> PeerScores:
        try:
            result = _PeerResult.model_validate_json((folder / "result.json").read_bytes())
            maps = [
                None if name is None else np.load(folder / name) for name in result.maps or [None] * count
            ]
        except (OSError, ValidationError, ValueError) as error:
            raise DetectorError(f"{self.name} wrote no result that can be read: {error}") from error
        if result.format != FORMAT or len(result.scores) != count or len(maps) != count:
            raise DetectorError(
                f"{self.name} gave {len(result.scores)} scores and {len(maps)} maps in format "
                f"{result.format}; {count} of each in format {FORMAT} were asked for."
            )
        for one in maps:
            if one is not None and (one.ndim != 2 or not np.isfinite(one).all()):
                raise DetectorError(f"{self.name} gave a map that is not two-dimensional and finite.")
        return PeerScores(
            scores=result.scores,
            maps=[None if one is None else one.astype(np.float32) for one in maps],
            learn_seconds=result.learn_seconds,
            score_seconds=result.score_seconds,
            peak_memory_mb=result.peak_memory_mb,
            version=", ".join(f"{name} {version}" for name, version in result.versions.items()),
        )


def _write_pictures(paths: Sequence[Path], folder: Path) -> list[str]:
    """Write pictures as they are read here, under numbers, so that no name gives a label away."""
    from PIL import Image

    folder.mkdir(parents=True)
    names = [f"{number:06d}.png" for number in range(len(paths))]
    for path, name in zip(paths, names, strict=True):
        Image.fromarray(load_image(path).pixels).save(folder / name, compress_level=1)
    return names


class _PeerResult(Frozen):
    format: int
    scores: tuple[float, ...]
    maps: tuple[str | None, ...] | None = None
    learn_seconds: float = Field(ge=0)
    score_seconds: float = Field(ge=0)
    peak_memory_mb: float | None = None
    versions: dict[str, str] = Field(default_factory=dict)


def script_peer(spec: str, python: Path | None) -> ScriptPeer:
    """The peer of ``anomalib:Patchcore?backbone=resnet18``, or of ``peer:SCRIPT``.

    Values of options are JSON where they can be read as such.

    Raises
    ------
    DetectorError : no interpreter is named, there is no such script, or the kind is unknown.
    """
    kind, _, rest = spec.partition(":")
    what, _, query = rest.partition("?")
    if kind not in (ANOMALIB, SCRIPT) or not what:
        raise DetectorError(f"{spec} is no peer.", "Known are anomalib:MODEL and peer:SCRIPT.")
    if python is None:
        raise DetectorError(
            f"{spec} runs in an environment of its own.", "Name its interpreter by --peer-python."
        )
    script = SHIPPED if kind == ANOMALIB else Path(what)
    if not script.is_file():
        raise DetectorError(f"There is no script {script}.", "Name the file of the peer after peer:.")
    options = {name: _json_or_text(value) for name, value in parse_qsl(query, keep_blank_values=True)}
    return ScriptPeer(spec, script, python, what if kind == ANOMALIB else script.stem, options)


def _json_or_text(value: str) -> object:
    try:
        return json.loads(value)
    except ValueError:
        return value
