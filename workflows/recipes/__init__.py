"""Recipes: each module's ``recipe()`` returns the target steps of a graph.

A recipe *is* the DAG and its documentation. `load` finds one by its module's name here, or
by a module's path outside the repository; `names` lists those that ship.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Sequence

from pipeline.graph import Step
from storage_schemas.errors import ParameterError


def names() -> list[str]:
    """Names of the recipes that ship with tubelet."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Sequence[Step]:
    """Target steps of a recipe; raises `ParameterError` naming the nearest."""
    shipped = name in names()
    if not shipped and "." not in name and importlib.util.find_spec(name) is None:
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(names())}"
        raise ParameterError(f"no recipe is named {name!r}; {hint}")
    path = f"{__name__}.{name}" if shipped else name
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        raise ParameterError(f"recipe {path!r} cannot be imported: {error}") from error
    steps: Sequence[Step] = module.recipe()
    return steps


def describe(name: str) -> str:
    """First line of a recipe's documentation."""
    module = importlib.import_module(f"{__name__}.{name}")
    return (module.__doc__ or "").strip().partition("\n")[0]
