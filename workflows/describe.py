"""Every constant of a recipe with where it comes from: ``tubelet describe``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from pipeline.graph import Step, walk
from pipeline.overrides import apply_overrides, changes_of, choose_source
from pipeline.parameters import Resolved, resolve
from workflows import display, recipes

COMMAND_LINE, UNKNOWN = "command line", "not named"
_IDLE = "no effect"


@dataclass(frozen=True)
class Constant:
    """A parameter's name, value and source; ``idle`` where it has no effect here."""

    name: str
    value: Any
    source: str
    idle: bool


@dataclass(frozen=True)
class Described:
    """A step of a recipe: its stage, the steps that it reads by role, its constants."""

    step: str
    stage: str
    version: int
    reads: Mapping[str, Sequence[str]]
    constants: Sequence[Constant]


def describe(recipe: str, settings: Sequence[str]) -> list[Described]:
    """Steps of a recipe in the order in which they are computed; a run would take these."""
    targets, settings = choose_source(recipes.load(recipe), settings)
    before = {step.name: step for step in walk(targets, unread=True)}
    given = changes_of(targets, settings)
    return [
        Described(
            step=step.name,
            stage=step.stage.name,
            version=step.stage.version,
            reads={
                role: [upstream.name for upstream in steps]
                for role, steps in step.inputs.items()
                if role in step.stage.reads()
            },
            constants=list(_constants(step, before[step.name], given.get(step.name, {}))),
        )
        for step in walk(apply_overrides(targets, settings))
    ]


def _constants(step: Step, before: Step, given: Mapping[str, Any]) -> Iterator[Constant]:
    """Constants of a step; `before` is the step without what the command line has `given`."""
    old = {place.path: place for place in resolve(before.stage)}
    for now in resolve(step.stage):
        source = _source(now, old.get(now.path), given)
        yield Constant(now.path, now.value, source, now.idle)


def _source(now: Resolved, before: Resolved | None, given: Mapping[str, Any]) -> str:
    """Settings have made all parameters anew, and with that undone what the recipe cites."""
    if now.path in given:
        return COMMAND_LINE
    # A value of the same class, or one that another method took over: its clips' size.
    kept = before is not None and before.value == now.value
    if before is not None and kept and (before.owner is now.owner or now.source is None):
        return before.source or UNKNOWN
    groups = [path for path, value in given.items() if isinstance(value, Mapping)]
    if now.source is None and any(now.path.startswith(f"{path}.") for path in groups):
        return COMMAND_LINE
    return now.source or UNKNOWN


def print_constants(console: Console, described: Sequence[Described]) -> None:
    """A table for each step; what has no effect is told."""
    for step in described:
        reads = ", ".join(name for names in step.reads.values() for name in names)
        stage = "" if step.step == step.stage else f" ({step.stage})"
        console.print(
            f"[bold]{step.step}[/]{stage} v{step.version}" + (f", reads {reads}" if reads else ""),
            highlight=False,
        )
        rows = []
        for constant in step.constants:
            source = f"{constant.source} ({_IDLE})" if constant.idle else constant.source
            style = "dim" if constant.idle else ""
            cells = (f"    {constant.name}", str(constant.value), source)
            rows.append([Text(cell, style=style) for cell in cells])
        if rows:
            display.print_table(console, ("", "", ""), rows)


def as_json(described: Sequence[Described]) -> list[dict[str, Any]]:
    """The same in JSON's types."""
    return [asdict(step) for step in described]
