"""An option means one thing in every command, and help tells of no doubled words."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from workflows import cli
from workflows.bench import bench_train
from workflows.quarantine import quarantine_app
from workflows.sweep import sweep

HOW = {"store", "data", "settings", "workers", "threads", "device", "loader_workers"} | {
    "item_timeout",
    "max_failed_fraction",
}


def signature(command: Callable[..., Any]) -> dict[str, tuple[str, Any]]:
    parameters = inspect.signature(command, eval_str=True).parameters
    return {name: (str(p.annotation), p.default) for name, p in parameters.items()}


@pytest.mark.parametrize("command", [sweep, bench_train, cli.plan])
def test_what_runs_stages_takes_the_options_of_run(command: Callable[..., Any]) -> None:
    run, other = signature(cli.run), signature(command)
    shared = (run.keys() & other.keys()) - {"recipe"}  # bench has a default
    assert {name: other[name] for name in shared} == {name: run[name] for name in shared}
    assert command is cli.plan or shared >= HOW


def commands(app: typer.Typer) -> Iterator[list[str]]:
    for command in app.registered_commands:
        assert command.name is not None
        yield [command.name]


@pytest.mark.parametrize(
    "command",
    [
        *commands(cli.app),
        ["bench", "train"],
        *(["quarantine", *c] for c in commands(quarantine_app)),
    ],
    ids=" ".join,
)
def test_help_of_every_command(command: list[str]) -> None:
    out = CliRunner().invoke(cli.app, [*command, "--help"], prog_name="tubelet").stdout
    assert f"Usage: tubelet {' '.join(command)}" in out
    for doubled in ("--no-no-", "[[", "...]...", "``", "default: ]"):
        assert doubled not in out


def test_every_command_is_in_a_group_of_its_kind() -> None:
    out = CliRunner().invoke(cli.app, ["--help"]).stdout
    groups = [line.split("─ ")[1].split(" ─")[0] for line in out.splitlines() if "╭─" in line]
    assert groups == ["Options", *cli.PANELS]
