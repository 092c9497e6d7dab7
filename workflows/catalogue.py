"""What there is: the commands ``stages``, ``methods``, ``recipes`` and ``describe``."""

from __future__ import annotations

import importlib
import json
import pkgutil
from typing import Annotated

import typer

import stages
from pipeline.graph import walk
from pipeline.stage import Stage
from workflows import recipes
from workflows.options import Recipe, Set, console


def list_stages() -> None:
    """All stages with their parameters and defaults."""
    for stage in find_stages():
        reads = ", ".join(stage.roles) or "nothing"
        console.print(
            f"[bold]{stage.name}[/] v{stage.version}: {reads} -> {stage.output.name}",
            highlight=False,
        )
        for name, parameter in stage.model_fields.items():
            default = "required" if parameter.is_required() else repr(parameter.default)
            console.print(f"    {name} = {default}", markup=False, highlight=False)


def find_stages() -> list[type[Stage]]:
    """Every stage class that ships, by name."""
    found: dict[str, type[Stage]] = {}
    skip = ("stages.learning", "stages.pretrain.methods", "stages.detect.detectors")
    for module in pkgutil.walk_packages(stages.__path__, "stages."):
        if not module.name.startswith(skip):
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, type) and issubclass(value, Stage) and "name" in vars(value):
                    found[value.name] = value
    return [found[name] for name in sorted(found)]


def list_methods() -> None:
    """Pretraining methods with their parameters."""
    from stages.learning.method import Method

    for name in Method.names():
        method = Method.find(name)
        needs = ", ".join(sorted(method().reads())) or "nothing"
        console.print(f"[bold]{name}[/] v{method.version}, needs {needs}", highlight=False)
        for parameter, value in method().model_dump(mode="json").items():
            if parameter not in ("name", "version"):
                console.print(f"    {parameter} = {value}", markup=False, highlight=False)


def list_recipes() -> None:
    """Recipes with their steps."""
    for name in recipes.names():
        steps = " -> ".join(step.name for step in walk(recipes.load(name)))
        console.print(f"[bold]{name}[/]: {recipes.describe(name)}\n    {steps}", highlight=False)


def describe(
    recipe: Recipe,
    settings: Set = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Every constant of a recipe, and where it comes from."""
    from workflows import describe as described

    steps = described.describe(recipe, settings or [])
    if as_json:
        typer.echo(json.dumps(described.as_json(steps), indent=2))
    else:
        described.print_constants(console, steps)
