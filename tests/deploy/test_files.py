"""What the files for containers and services name is there; they can't be built here."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

from anomalist.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def container() -> str:
    return (DEPLOY / "Dockerfile").read_text()


def test_the_image_copies_what_is_there_and_the_context_lets_in() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}
    copied = [shlex.split(line)[1:-1] for line in re.findall(r"^COPY (?!--from).*$", container(), re.M)]
    for name in (Path(each).name for names in copied for each in names):
        assert (ROOT / name).exists()
        assert name in let_in


def test_the_image_installs_extras_that_exist_and_is_not_root() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (named,) = re.findall(r"'\.\[(.+)\]'", container())
    assert set(named.split(",")) <= set(extras)
    assert "\nUSER anomalist\n" in container()
    assert "HEALTHCHECK" in container()


def test_the_pinned_torch_is_that_of_the_tests() -> None:
    (pinned,) = re.findall(r'ARG TORCH="(torch==[\d.]+)"', container())
    assert pinned in (ROOT / "constraints.txt").read_text().split()


def test_services_depend_on_services_and_use_known_settings() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = compose["services"]
    assert set(services["anomalist"]["depends_on"]) <= set(services)
    assert (DEPLOY / services["anomalist"]["build"]["context"]).resolve() == ROOT
    known = {f"ANOMALIST_{name.upper()}" for name in Settings.model_fields} | {"ANOMALIST_PASSWORD"}
    given = set(services["anomalist"]["environment"])
    assert {name for name in given if not name.startswith("ANOMALIST_SERVER_")} <= known
    assert "ports" not in services["broker"] and "ports" not in services["database"]


@pytest.mark.parametrize("line", ["NoNewPrivileges=yes", "DynamicUser=yes", "Restart=on-failure"])
def test_the_unit_is_confined_and_comes_back(line: str) -> None:
    assert line in (DEPLOY / "anomalist.service").read_text().splitlines()


def test_the_job_on_kubernetes_is_a_command_that_parses_and_asks_nothing_of_rays_makers() -> None:
    from tests.docs.test_examples import test_command_lines_parse as parse

    job = yaml.safe_load((DEPLOY / "kuberay.yaml").read_text())
    parse(job["spec"]["entrypoint"])
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]
        assert {each["name"] for each in container["volumeMounts"]} == {
            each["name"] for each in pod["volumes"]
        }
    pinned = re.search(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert pinned is not None and cluster["rayVersion"] == pinned[1]
