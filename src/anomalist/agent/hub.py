"""Models from the Hugging Face Hub: which are on this machine, and what fetching another would take."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from anomalist.errors import ModelError

WANTED = ("*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")
"""Weights, configuration and tokenisers; nothing that is run, and no pickle."""

SECONDS = 15.0


@dataclass(frozen=True)
class Offer:
    """What the Hub has under a name, before anything is fetched.

    Parameters
    ----------
    name : owner and name of the repository.
    revision : commit, 40 hex digits.
    licence : as its owner names it.
    files : name → bytes, of the files that would be fetched.
    """

    name: str
    revision: str
    licence: str
    files: dict[str, int]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(self.files.values())


@dataclass(frozen=True)
class Cached:
    """A vision-language model on this machine."""

    name: str
    revision: str
    size: int
    path: Path


def cached_models() -> list[Cached]:
    """List the vision-language models that were fetched, by name."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return []
    found = []
    for repository in repositories:
        for revision in repository.revisions:
            files = {file.file_name for file in revision.files}
            weights = any(name.endswith(".safetensors") for name in files)
            if weights and "config.json" in files and sees_pictures(_model_type(revision.snapshot_path)):
                place = revision.snapshot_path
                found.append(Cached(repository.repo_id, revision.commit_hash, revision.size_on_disk, place))
    return sorted(found, key=lambda model: (model.name, model.revision))


def look_up(name: str) -> Offer:
    """Ask the Hub what it has under a name; fetches nothing.

    Raises
    ------
    ModelError : the Hub can't be reached, has no such model or guards it, or it is none that can be used:
        not a vision-language model that transformers knows, or without safetensors weights.
    """
    from huggingface_hub import HfApi

    with _clear_errors(name):
        found = HfApi().model_info(name, files_metadata=True, timeout=SECONDS)
    files = {file.rfilename: file.size or 0 for file in found.siblings or [] if _wanted(file.rfilename)}
    model_type = str((found.config or {}).get("model_type", ""))
    if not sees_pictures(model_type):
        raise ModelError(
            f"{name} is no vision-language model of transformers (its type is {model_type or 'unknown'}).",
            "Some models have a variant for transformers, whose name ends in -hf.",
        )
    if not any(file.endswith(".safetensors") for file in files):
        raise ModelError(f"{name} has no safetensors weights, and anomalist loads no other kind.")
    licence = found.card_data.get("license") if found.card_data else None
    if licence == "other":
        licence = found.card_data.get("license_name") if found.card_data else None
    return Offer(found.id, str(found.sha), str(licence or "not stated"), files)


def fetch(offer: Offer) -> Path:
    """Fetch the files of an offer into the cache of the Hub; shows progress on stderr.

    Raises
    ------
    ModelError : there is no room for it, or the connection broke. What has arrived is used the next time.
    """
    from huggingface_hub import constants, snapshot_download

    cache = Path(constants.HF_HUB_CACHE)
    place = next(folder for folder in (cache, *cache.parents) if folder.exists())
    if (free := shutil.disk_usage(place).free) < offer.size:
        raise ModelError(
            f"{offer.name} takes {in_bytes(offer.size)}, and {place} has {in_bytes(free)} free.",
            "Make room, or set HF_HOME to another disk.",
        )
    with _clear_errors(offer.name):
        path = snapshot_download(offer.name, allow_patterns=sorted(offer.files))
    return Path(path)


def sees_pictures(model_type: str) -> bool:
    """Tell whether transformers has a vision-language model of this type."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    return model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES


def in_bytes(count: float) -> str:
    """Write a number of bytes for people: ``4.3 GB``."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _wanted(file: str) -> bool:
    """Whether a file at the top of a repository is needed."""
    return "/" not in file and any(fnmatch(file, pattern) for pattern in WANTED)


def _model_type(folder: Path) -> str:
    import json

    try:
        content = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return ""
    return str(content.get("model_type", "")) if isinstance(content, dict) else ""


@contextmanager
def _clear_errors(name: str) -> Iterator[None]:
    """Turn what the Hub's client raises into a `ModelError` of one line."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    # Which HTTP library the client is built on has changed before.
    http_error = [kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError"]
    broken: tuple[type[Exception], ...] = (OSError, *http_error)
    try:
        yield
    except HFValidationError as error:
        raise ModelError(
            f"{name} is not the name of a model.", "For example: Qwen/Qwen3-VL-2B-Instruct"
        ) from error
    except GatedRepoError as error:
        raise ModelError(
            f"{name} is only for those who accepted its terms.",
            f"Accept them at {constants.ENDPOINT}/{name} and log in: hf auth login",
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"There is no model {name} at {constants.ENDPOINT}, or it is private.") from error
    except OfflineModeIsEnabled as error:
        raise ModelError("The Hub is switched off by HF_HUB_OFFLINE.", "Unset it to fetch models.") from error
    except broken as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(
            f"{name} can't be fetched from {constants.ENDPOINT}: {said}.",
            "Check the connection. A folder with the model's files works as well: --model hf:FOLDER",
        ) from error
