"""What is installed, what would be used, and what is missing."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING

from pydantic import Field

from anomalist import __version__
from anomalist.errors import AnomalistError
from anomalist.settings import Settings
from anomalist.types import Frozen

if TYPE_CHECKING:
    from rich.console import RenderableType


class Package(Frozen):
    """A package anomalist depends on."""

    name: str
    installed: str | None = Field(description="version, or None when missing")
    remedy: str | None = Field(description="the line that installs it")


class Findings(Frozen):
    """The result of `check`."""

    version: str = __version__
    python: str
    platform: str
    cores: int
    packages: tuple[Package, ...]
    weights: str = Field(description="the packaged network: its hash, or what is wrong with it")
    weights_ok: bool
    reasoner: str = Field(description="who would reason")
    backbone: str = Field(description="what would describe patches")
    device: str
    profiles: str
    writable: bool = Field(description="whether profiles can be stored there")

    @property
    def able(self) -> bool:
        """Whether pictures can be inspected."""
        return self.weights_ok and all(package.installed for package in self.packages)


def check() -> Findings:
    """Look at the installation; loads torch, changes nothing."""
    place = Settings().profiles
    nearest = next(folder for folder in (place, *place.parents) if folder.exists())
    weights, sound = _weights()
    return Findings(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        cores=os.cpu_count() or 1,
        packages=tuple(_packages()),
        weights=weights,
        weights_ok=sound,
        reasoner=_reasoner(),
        backbone="embedded SurfaceNet (choose another with learn --backbone NAME)",
        device=_device(),
        profiles=str(place),
        writable=os.access(nearest, os.W_OK),
    )


def _packages() -> list[Package]:
    from packaging.requirements import Requirement

    found = []
    for line in requires("anomalist") or []:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            have = version(requirement.name)
            fits = requirement.specifier.contains(have.split("+")[0], prereleases=True)
        except PackageNotFoundError:
            have, fits = None, False
        pip = f"{sys.executable} -m pip install '{requirement.name}{requirement.specifier}'"
        found.append(Package(name=requirement.name, installed=have, remedy=None if fits else pip))
    return found


def _weights() -> tuple[str, bool]:
    from anomalist.vision.weights import NAME, SHA256, shipped_network

    try:
        shipped_network()
    except (AnomalistError, OSError, ImportError) as error:
        return str(error), False
    return f"{NAME}, sha256 {SHA256[:12]}…", True


def _reasoner() -> str:
    from anomalist.agent.models import choose

    try:
        return choose().why.removeprefix("Reasoning: ")
    except AnomalistError as error:
        return str(error)


def _device() -> str:
    try:
        import torch
    except ImportError:
        return "torch is missing"
    from anomalist.vision.training import half_precision

    graphics = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    fast = "with" if half_precision() else "without"
    return f"{torch.get_num_threads()} threads {fast} bfloat16 matrix units, {graphics}"


def render(findings: Findings) -> RenderableType:
    """Lay the findings out for people."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("anomalist", f"{findings.version}, Python {findings.python}, {findings.platform}")
    table.add_row("machine", f"{findings.cores} cores, {findings.device}")
    table.add_row("network", findings.weights)
    table.add_row("patches", findings.backbone)
    table.add_row("reasoner", findings.reasoner)
    table.add_row("profiles", findings.profiles + ("" if findings.writable else "  (not writable)"))
    packages = Table("package", "installed", "to do", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for package in findings.packages:
        installed = Text(package.installed) if package.installed else Text("missing", "bold red")
        packages.add_row(package.name, installed, Text(package.remedy or "", "yellow"))
    verdict = Text("Ready.", "bold green") if findings.able else Text("Not ready: see above.", "bold red")
    return Group(table, Text(), packages, Text(), verdict)
