"""compose.yaml: parsed, and each command compared with what the installed Prefect understands."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docker.dockerfile import read

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker" / "compose.yaml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]


def test_services_and_what_they_wait_for() -> None:
    waits = {
        name: [(other, how["condition"]) for other, how in service.get("depends_on", {}).items()]
        for name, service in SERVICES.items()
    }
    after_server = [("server", "service_healthy")]
    assert waits == {
        "postgres": [],
        "server": [("postgres", "service_healthy")],
        "worker": after_server,
        "tubelet": after_server,
        "tubelet-cuda": after_server,
    }
    for name in {other for found in waits.values() for other, _ in found} | {"worker"}:
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_images_are_ours_or_pinned() -> None:
    for name, service in SERVICES.items():
        if "build" in service:
            assert service["build"]["context"] == ".."
            path = ROOT / service["build"]["dockerfile"]
            assert json.loads(read(path)[1].all("ENTRYPOINT")[0]) == ["tubelet"]
            assert service["cap_drop"] == ["ALL"]
        else:
            assert re.search(r":\d+\.\d+-\w+@sha256:[0-9a-f]{64}$", service["image"]), name


def test_every_process_of_prefect_is_quiet_and_finds_its_server() -> None:
    quiet = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    for name, service in SERVICES.items():
        if "build" in service:
            assert quiet.items() <= service["environment"].items()
        if ("server", "service_healthy") in [
            (other, how["condition"]) for other, how in service.get("depends_on", {}).items()
        ]:
            assert service["environment"]["PREFECT_API_URL"] == "http://server:4200/api", name
    server = SERVICES["server"]["environment"]
    assert "localhost:4200/api" in server["PREFECT_SERVER_UI_API_URL"]
    assert server["PREFECT_SERVER_DATABASE_CONNECTION_URL"].startswith("postgresql+asyncpg://")
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["server"]["ports"])


def test_settings_are_those_of_the_installed_prefect() -> None:
    code = (
        "import sys; from prefect.settings import get_current_settings as g; s = g();"
        "assert s.server.database.connection_url.get_secret_value() == sys.argv[1];"
        "assert s.server.ui.api_url == sys.argv[2];"
        "assert not s.server.ui.show_promotional_content and not s.server.analytics_enabled;"
        "print(s.worker.webserver.port)"
    )
    environment = SERVICES["server"]["environment"]
    names = ["PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_SERVER_UI_API_URL"]
    values = [environment[name] for name in names]
    port = subprocess.run(
        [sys.executable, "-c", code, *values],
        env=environment,
        check=True,
        text=True,
        capture_output=True,
    ).stdout.strip()
    assert f"127.0.0.1:{port}/health" in SERVICES["worker"]["healthcheck"]["test"][-1]


@pytest.mark.parametrize("name", ["server", "worker"])
def test_commands_are_those_of_the_installed_prefect(name: str) -> None:
    program, *command = SERVICES[name]["entrypoint"]
    assert program == "prefect"
    said = subprocess.run(
        [sys.executable, "-m", "prefect", *command, "--help"],
        env={"PATH": "", "COLUMNS": "200", "DO_NOT_TRACK": "1"},
        check=True,
        text=True,
        capture_output=True,
    ).stdout
    options = [word for word in SERVICES[name]["command"] if word.startswith("--")]
    assert options
    assert set(options) <= set(re.findall(r"--[a-z-]+", said))


def test_the_worker_polls_the_pool_of_the_deployments() -> None:
    command = SERVICES["worker"]["command"]
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    pools = {(one["work_pool"]["name"], "process") for one in deployments}
    assert pools == {(command[command.index("--pool") + 1], command[command.index("--type") + 1])}


@pytest.mark.parametrize("name", ["server", "worker"])
def test_health_checks_are_programs(name: str) -> None:
    program, flag, code = SERVICES[name]["healthcheck"]["test"][1:]
    assert (program, flag) == ("python", "-c")
    compile(code, name, "exec")
