"""Load language models from local folders and the Hugging Face cache; list and download them.

Downloads only by `anomalist models pull`; no remote code, no pickle: safetensors only. Optional quantisation
by bitsandbytes. Torch and transformers are imported inside the functions.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from anomalist.agent.models.text_only import find_gguf, is_text_only, unpacked_gguf
from anomalist.errors import ModelError
from anomalist.storage.files import file_sha256

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig


Quantisation = Literal["nf4", "int8"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]

DIGEST_SUFFIXES = (".safetensors", ".json", ".jinja", ".model", ".txt")
"""Suffixes of the files that determine a model's output."""


def local_folder(name: str) -> Path:
    """Find a model on this machine: a folder, a GGUF file, or a name in the Hugging Face cache.

    A GGUF file, or the only one in a folder, is unpacked once; the folder is then that of what was unpacked.

    Raises
    ------
    ModelError : the model is missing, incomplete, or its weights are pickles.
    """
    folder = Path(name).expanduser()
    if (packed := find_gguf(folder)) is not None:
        with _progress_on_terminals_only():
            return unpacked_gguf(packed)
    if folder.is_file():
        raise ModelError(f"{name} is a file, not the folder of a model or a GGUF file.")
    if not folder.is_dir():
        folder = _cached_folder(name)
    if not (folder / "config.json").is_file():
        raise ModelError(f"{name} holds no model: there is no config.json.")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        parts = set(_read_json(index).get("weight_map", {}).values())
    else:
        parts = {path.name for path in folder.glob("*.safetensors")}
        if not parts and any(folder.glob("*.bin")):
            raise ModelError(
                f"The weights of {name} are pickles, which can run code; only safetensors are read.",
                "Look for a version of the model in safetensors.",
            )
    missing = sorted(part for part in parts if not (folder / part).is_file())
    if missing or not parts:
        lacks = ", ".join(missing[:3]) or "model.safetensors"
        raise ModelError(
            f"{name} is not complete: {lacks} is missing.",
            "" if Path(name).is_dir() else f"Fetch it again: anomalist models pull {name}",
        )
    return folder


def load_network(
    name: str,
    folder: Path,
    config: Any,  # noqa: ANN401
    quantisation: Quantisation | None,
    dtype: Dtype,
) -> Any:  # noqa: ANN401
    """Load the weights of a model, distributed over the available accelerators.

    Parameters
    ----------
    name : for error messages.
    folder, config : from `local_folder` and `read_config`.
    quantisation : of the language model's layers; vision tower, connector and head stay as ``dtype``.
    dtype : "auto" is the saved dtype, and with a quantisation a 16-bit one.

    Raises
    ------
    ModelError : the weights can't be read, don't belong to the config, or don't fit into memory.
    """
    auto_class = _auto_class(config)
    try:
        skeleton = _meta_model(auto_class, config)
    except ValueError as error:
        raise ModelError(f"{name} is a {config.model_type}: no model that writes text.") from error
    options: dict[str, Any] = {"dtype": dtype}
    if quantisation:
        if getattr(config, "quantization_config", None):
            raise ModelError(f"{name} is quantised already.", "Open it without a quantisation.")
        options["dtype"] = _sixteen_bit(config) if dtype == "auto" else dtype
        options["quantization_config"] = _bitsandbytes(
            quantisation, options["dtype"], unquantised_modules(skeleton)
        )
    try:
        with (
            catch_out_of_memory(f"Loading {name}", memory_remedy(quantisation)),
            _progress_on_terminals_only(),
        ):
            network, report = auto_class.from_pretrained(
                folder,
                config=config,
                device_map="auto",
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                **options,
            )
    except ModelError:
        raise
    except Exception as error:  # loading code raises anything
        raise ModelError(f"{name} can't be loaded: {_one_line_message(error)}") from error
    if lost := [*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])]:
        raise ModelError(f"The weights of {name} don't belong to its config: {len(lost)} lack, as {lost[0]}.")
    return network.eval()


def read_config(name: str, folder: Path) -> Any:  # noqa: ANN401
    """Read the config of a model.

    Raises
    ------
    ModelError : a model type that transformers doesn't know, or that needs remote code.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        saved = _read_json(folder / "config.json")
        if "auto_map" in saved:
            raise ModelError(
                f"{name} comes with code of its own, and no foreign code is run.",
                "Look for a version that transformers knows (often with -hf in its name).",
            ) from error
        kind = saved.get("model_type")
        raise ModelError(
            f"{name} is of a kind ({kind}) that can't be read: {_one_line_message(error)}"
        ) from error


def unquantised_modules(skeleton: Any) -> list[str]:  # noqa: ANN401
    """Names of the modules outside the language model's layers: vision tower, connector, head.

    Parameters
    ----------
    skeleton : a transformers model, possibly without weights (meta device).
    """
    names = {id(module): name for name, module in skeleton.named_modules()}
    path = names[id(skeleton.get_decoder())]
    inside = [path[:at] for at in range(len(path) + 1) if path[at : at + 1] in (".", "")]
    parents = [skeleton, *(skeleton.get_submodule(name) for name in inside[:-1])]
    return sorted(
        names[id(child)]
        for parent in parents
        for child in parent.children()
        if names[id(child)] not in inside
    )


def weights_digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of all files that determine a model's output."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in DIGEST_SUFFIXES):
        total.update(f"{path.name} {file_sha256(path)}\n".encode())
    return total.hexdigest()


def memory_remedy(quantisation: Quantisation | None, *, pictures: bool = False) -> str:
    """Remedy for running out of memory."""
    steps = ["a smaller model"] if quantisation == "nf4" else ["quantisation=nf4", "a smaller model"]
    return f"Take {' or '.join(steps)}{', or lower max_pixels' if pictures else ''}."


@contextmanager
def catch_out_of_memory(what: str, remedy: str) -> Iterator[None]:
    """Turn out-of-memory errors of any device into a ModelError; frees cached memory."""
    import torch

    try:
        yield
    except Exception as error:
        # Torch has an error class for accelerators only; elsewhere the message has to be matched.
        messages = ("can't allocate memory", "Cannot allocate memory", "enough GPU RAM")
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not any(
            message in str(error) for message in messages
        ):
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise ModelError(f"{what} took more memory than there is.", remedy) from error


def _cached_folder(name: str) -> Path:
    """Folder of a downloaded model in the Hugging Face cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        raise ModelError(f"There is no folder {name}.")
    try:
        # With a pattern, because `models pull` doesn't fetch all files; `local_folder` checks for the others.
        return Path(snapshot_download(name, local_files_only=True, allow_patterns="config.json"))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise ModelError(
            f"The model {name} is not on this machine.", f"Fetch it: anomalist models pull {name}"
        ) from error


def _auto_class(config: Any) -> Any:  # noqa: ANN401
    """The class of transformers that loads a model of this config: one that sees, or one that reads only."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    return AutoModelForCausalLM if is_text_only(config.model_type) else AutoModelForImageTextToText


def _meta_model(auto_class: Any, config: Any) -> Any:  # noqa: ANN401
    """Build the network without weights."""
    import torch

    with torch.device("meta"):
        return auto_class.from_config(copy.deepcopy(config))


def _sixteen_bit(config: Any) -> str:  # noqa: ANN401
    """The saved dtype if it has 16 bits, else bfloat16 (float16 can overflow)."""
    saved = str(getattr(config, "dtype", None)).removeprefix("torch.")
    return saved if saved in ("bfloat16", "float16") else "bfloat16"


def _bitsandbytes(quantisation: Quantisation, dtype: str, skip: list[str]) -> BitsAndBytesConfig:
    """Quantisation config that leaves out the modules in ``skip``."""
    from transformers import BitsAndBytesConfig

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns at every layer of every token
    if "bitsandbytes" not in sys.modules and "kernels" not in sys.modules:
        # With the package `kernels` installed, its import would download and run a compiled kernel.
        sys.modules["kernels"] = None  # type: ignore[assignment]
        try:
            import bitsandbytes  # noqa: F401
        finally:
            del sys.modules["kernels"]
    if quantisation == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skip)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=skip,
    )


@contextmanager
def _progress_on_terminals_only() -> Iterator[None]:
    """Keep progress bars out of logs."""
    from transformers.utils import logging as progress

    if sys.stderr.isatty() or not progress.is_progress_bar_enabled():
        yield
        return
    progress.disable_progress_bar()
    try:
        yield
    finally:
        progress.enable_progress_bar()


def _read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; an empty one where the file can't be read or holds none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _one_line_message(error: Exception) -> str:
    """The first 200 characters of an error as one line."""
    line = " ".join(str(error).split()) or type(error).__name__
    return line if len(line) <= 200 else f"{line[:199]}…"


FILE_PATTERNS = ("*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")
"""Files that are downloaded: weights, configuration and tokenizers; no code and no pickle."""

HUB_TIMEOUT_SECONDS = 15.0


@dataclass(frozen=True)
class HubModel:
    """A model on the Hub, before it is downloaded.

    Parameters
    ----------
    name : owner and name of the repository.
    revision : commit, 40 hex digits.
    licence : as stated by its owner.
    files : size in bytes by name, of the files to download.
    """

    name: str
    revision: str
    licence: str
    files: dict[str, int]

    @property
    def size(self) -> int:
        """Total size in bytes."""
        return sum(self.files.values())


@dataclass(frozen=True)
class CachedModel:
    """A vision-language model in the Hugging Face cache."""

    name: str
    revision: str
    size: int
    path: Path


def cached_models() -> list[CachedModel]:
    """The vision-language models in the Hugging Face cache, by name."""
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
            if (
                weights
                and "config.json" in files
                and is_vision_language_model(_model_type(revision.snapshot_path))
            ):
                place = revision.snapshot_path
                found.append(
                    CachedModel(repository.repo_id, revision.commit_hash, revision.size_on_disk, place)
                )
    return sorted(found, key=lambda model: (model.name, model.revision))


def find_hub_model(name: str) -> HubModel:
    """Look up a model on the Hub; downloads nothing.

    Raises
    ------
    ModelError : the Hub can't be reached, has no such model or gates it; or the model is no vision-language
        model that transformers knows, or has no safetensors weights.
    """
    from huggingface_hub import HfApi

    with _hub_errors(name):
        found = HfApi().model_info(name, files_metadata=True, timeout=HUB_TIMEOUT_SECONDS)
    files = {file.rfilename: file.size or 0 for file in found.siblings or [] if _is_wanted(file.rfilename)}
    model_type = str((found.config or {}).get("model_type", ""))
    if not is_vision_language_model(model_type):
        raise ModelError(
            f"{name} is no vision-language model of transformers (its type is {model_type or 'unknown'}).",
            "Some models have a variant for transformers, whose name ends in -hf.",
        )
    if not any(file.endswith(".safetensors") for file in files):
        raise ModelError(f"{name} has no safetensors weights, and anomalist loads no other kind.")
    licence = found.card_data.get("license") if found.card_data else None
    if licence == "other":
        licence = found.card_data.get("license_name") if found.card_data else None
    return HubModel(found.id, str(found.sha), str(licence or "not stated"), files)


def download_model(offer: HubModel) -> Path:
    """Download the files of a model into the Hugging Face cache, with progress on stderr.

    Raises
    ------
    ModelError : not enough disk space, or the connection broke; a later call resumes.
    """
    from huggingface_hub import constants, snapshot_download

    cache = Path(constants.HF_HUB_CACHE)
    place = next(folder for folder in (cache, *cache.parents) if folder.exists())
    if (free := shutil.disk_usage(place).free) < offer.size:
        raise ModelError(
            f"{offer.name} takes {format_bytes(offer.size)}, and {place} has {format_bytes(free)} free.",
            "Make room, or set HF_HOME to another disk.",
        )
    with _hub_errors(offer.name):
        path = snapshot_download(offer.name, allow_patterns=sorted(offer.files))
    return Path(path)


def is_vision_language_model(model_type: str) -> bool:
    """Whether transformers has a vision-language model of this type."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    return model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES


def format_bytes(count: float) -> str:
    """Format a number of bytes: ``4.3 GB``."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _is_wanted(file: str) -> bool:
    """Whether a file at the top of a repository is needed."""
    return "/" not in file and any(fnmatch(file, pattern) for pattern in FILE_PATTERNS)


def _model_type(folder: Path) -> str:
    import json

    try:
        content = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return ""
    return str(content.get("model_type", "")) if isinstance(content, dict) else ""


@contextmanager
def _hub_errors(name: str) -> Iterator[None]:
    """Turn errors of the Hub's client into a `ModelError` of one line."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    # The HTTP library of the client differs between versions.
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
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(
            f"{name} can't be fetched from {constants.ENDPOINT}: {reason}.",
            "Check the connection. A folder with the model's files works as well: --model hf:FOLDER",
        ) from error
