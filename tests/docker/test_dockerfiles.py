"""The Dockerfiles, as far as they can be checked without an engine (`make lint` runs hadolint)."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.dockerfile import BuildStage, read

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "docker" / "Dockerfile", ROOT / "docker" / "Dockerfile.cuda"]
PINNED = re.compile(r"[a-z]+:\d+\.\d+(\.\d+)?-[a-z]+(-[a-z]+)?@sha256:[0-9a-f]{64}")


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def stages(request: pytest.FixtureRequest) -> list[BuildStage]:
    return read(request.param)


def test_two_stages_on_one_pinned_base(stages: list[BuildStage]) -> None:
    build, final = stages
    assert (build.name, final.name) == ("build", "")
    assert build.image == final.image
    assert PINNED.fullmatch(build.image)


def test_the_base_has_the_python_that_the_project_is_made_for(stages: list[BuildStage]) -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["python_version"]
    assert stages[1].image.startswith(f"python:{wanted}.")


def test_runs_as_a_user_without_build_tools(stages: list[BuildStage]) -> None:
    final = stages[1]
    (user,) = final.all("USER")
    assert all(number.isdigit() and int(number) > 0 for number in user.split(":"))
    assert final.all("COPY") == ["--from=build /opt/tubelet /opt/tubelet"]
    for command in final.all("RUN"):
        assert not re.search(r"\b(pip|apt-get|gcc|curl|wget)\b", command)
    assert "--without-pip /opt/tubelet" in " ".join(stages[0].all("RUN"))


def test_environment_is_quiet_and_the_store_is_a_volume(stages: list[BuildStage]) -> None:
    final = stages[1]
    expected = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    assert expected.items() <= final.environment.items()
    volumes = json.loads(final.all("VOLUME")[0])
    assert volumes == [final.environment["TUBELET_STORE"], "/data"]
    assert f"--owner tubelet --group tubelet {' '.join(volumes)}" in final.all("RUN")[0]
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert json.loads(final.all("ENTRYPOINT")[0])[0] in scripts


def test_every_pip_command_keeps_to_the_lock_and_leaves_no_cache(stages: list[BuildStage]) -> None:
    steps = [step.strip() for run in stages[0].all("RUN") for step in run.split("&&")]
    commands = [step for step in steps if step.startswith("pip ")]
    assert len(commands) == 4
    for command in commands:
        assert "--no-cache-dir" in command
        assert "--constraint requirements.lock" in command or "--no-deps" in command


def test_cuda_differs_in_where_torch_comes_from_only() -> None:
    (cpu_build, cpu), (cuda_build, cuda) = (read(path) for path in FILES)
    assert set(cpu_build.environment) == {"PIP_EXTRA_INDEX_URL"}
    assert set(cuda_build.environment) == set()
    assert cuda.environment.items() - cpu.environment.items() == {
        ("NVIDIA_VISIBLE_DEVICES", "all"),
        ("NVIDIA_DRIVER_CAPABILITIES", "compute,utility"),
    }
    for ours, theirs in ((cpu_build, cuda_build), (cpu, cuda)):
        rest = [[i for i in stage.instructions if i[0] != "ENV"] for stage in (ours, theirs)]
        assert rest[0] == rest[1]


def test_the_context_holds_what_is_copied_and_little_else(stages: list[BuildStage]) -> None:
    kept = [line[1:] for line in _ignore_lines() if line.startswith("!")]
    copied = [name for argument in stages[0].all("COPY") for name in argument.split()[:-1]]
    assert sorted(kept) == sorted(copied)
    assert "*" in _ignore_lines()
    assert all((ROOT / name).exists() for name in copied)


def test_docker_is_no_package() -> None:
    assert not (ROOT / "docker" / "__init__.py").exists()  # it would shadow Prefect's Docker SDK


@pytest.fixture
def prefix(tmp_path: Path) -> Iterator[Path]:
    """Where the environment goes; two gigabytes, so pytest is not left to keep them."""
    yield tmp_path / "opt" / "tubelet"
    shutil.rmtree(tmp_path / "opt", ignore_errors=True)


@pytest.mark.install
@pytest.mark.timeout(900)
def test_the_same_commands_install_a_tubelet_that_works(prefix: Path, tmp_path: Path) -> None:
    """The build stage of the CPU image, run here: only the places differ.

    ``PIP_EXTRA_INDEX_URL`` is left to the machine's own settings of pip.
    """
    build, final = read(FILES[0])
    context, base = tmp_path / "build", tmp_path / "base"
    context.mkdir()
    subprocess.run([sys.executable, "-m", "venv", base], check=True)  # the base image's Python
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "VIRTUAL_ENV"))
    } | {"PATH": f"{base / 'bin'}:{os.environ['PATH']}", **build.arguments}
    for instruction, argument in build.instructions:
        if instruction == "COPY":
            *names, target = argument.split()
            for name in names:
                _copy(ROOT / name, context / target / (name if target == "./" else ""))
        elif instruction == "RUN":
            command = argument.replace("/opt/tubelet", str(prefix))
            subprocess.run(["bash", "-euc", command], cwd=context, env=environment, check=True)
    installed = {path.name.partition("-")[0] for path in prefix.rglob("*.dist-info")}
    assert {"tubelet", "torch", "prefect", "prefect_dask", "s3fs"} <= installed
    assert not installed & {"pip", "hatchling", "pytest", "mypy", "ruff", "onnx", "moto", "ray"}
    assert sum(path.stat().st_size for path in prefix.rglob("*") if path.is_file()) < 2.5e9

    shutil.rmtree(context)  # what runs below is what was installed
    environment |= {
        "PATH": f"{prefix / 'bin'}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "TUBELET_STORE": str(tmp_path / "store"),
    }
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(ROOT / "assets" / "clips" / "cup.mp4", data)
    (entry,) = json.loads(final.all("ENTRYPOINT")[0])
    for arguments, expected in (
        (json.loads(final.all("CMD")[0]), "Compute what the store lacks"),
        (["doctor"], "no problem found"),
        (["run", "preprocess", "--set", f"folder.path={data}", "--no-prefect"], "9 computed"),
    ):
        done = subprocess.run(
            [entry, *arguments], cwd=tmp_path, env=environment, text=True, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def _ignore_lines() -> list[str]:
    return (ROOT / ".dockerignore").read_text().splitlines()
