"""Settings from the environment: ``ANOMALIST_HOME``, ``_MODEL``, ``_BACKBONE``, ``_PUBLISH`` and others."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

THREAD_VARIABLES = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}
"""Variables that processes are given before they load numpy and torch, unless a person set them.

OpenMP's threads wait asleep, and BLAS uses one thread. By default both wait actively: numpy and scipy bring
an OpenBLAS each, whose threads and those of OpenMP keep each other from the cores that they have in common.
Learning takes nearly twice the time then, and beside another program everything takes several times as long.
"""


def _default_home() -> Path:
    import platform

    if platform.system() == "Windows":
        return Path.home() / "AppData" / "Local" / "anomalist"
    return Path.home() / ".local" / "share" / "anomalist"


class Settings(BaseSettings):
    """Read once at the start of a command; every field is ``ANOMALIST_<NAME>`` in the environment."""

    # Empty is what a line "NAME=" of an env file gives: as if it were not set.
    model_config = SettingsConfigDict(env_prefix="ANOMALIST_", extra="ignore", env_ignore_empty=True)

    home: Path = Field(default_factory=_default_home, description="where profiles with a plain name live")
    model: str = Field("auto", description="what `--model auto` takes where it is there, as in --model")
    backbone: str = Field("", description="vision transformer in place of DINOv2: a folder, or a Hub name")
    device: str = Field("auto", description="what networks run on: auto, cpu, cuda or mps")
    audit: str = Field("on", description="whether the audit log is written: on or off")
    memory: SecretStr = Field(
        SecretStr(""),
        description="PostgreSQL database of rules, cases, remembered scenes and conversations, for several "
        "servers; empty: files in the home",
    )
    publish: str = Field("", description="addresses that results are published to, as in --publish")
    webhook_secret: SecretStr = Field(SecretStr(""), description="key that webhooks are signed with")
    mqtt_password: SecretStr = Field(SecretStr(""), description="of the user in an mqtt:// address")

    @field_validator("home")
    @classmethod
    def _without_tilde(cls, home: Path) -> Path:
        """An env file has no shell that would replace it."""
        try:
            return home.expanduser()
        except RuntimeError:  # of nobody who is known here
            return home

    @property
    def profiles(self) -> Path:
        """Folder of the named profiles."""
        return self.home / "profiles"

    @property
    def cases(self) -> Path:
        """File of the cases and rules, or the file for which a schema of the shared database stands."""
        return self.home / "cases.sqlite"

    @property
    def models(self) -> Path:
        """Folder of the language models that were unpacked from GGUF files."""
        return self.home / "models"

    @property
    def backbones(self) -> Path:
        """Folder of the backbones that were unpacked from a package."""
        return self.home / "backbones"
