"""Recipes: functions that return the target steps of a graph.

A recipe *is* the DAG and its documentation. A module here holds one, ``recipe()``, which is
called as the module; or the recipes of a method: public functions without parameters that
return steps, each called ``<module>_<function>``. `load` finds one by name, or the
``recipe()`` of a module outside the repository by the module's path; `names` lists those
that ship.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import get_type_hints

from pipeline.graph import Step
from pipeline.wording import suggest
from storage_schemas.errors import ParameterError

Recipe = Callable[[], Sequence[Step]]


def names() -> list[str]:
    """Names of the recipes that ship with tubelet."""
    return [name for module in _modules() for name in _recipes(module)]


def load(name: str) -> Sequence[Step]:
    """Target steps of a recipe; raises `ParameterError` naming the nearest."""
    return _find(name)()


def describe(name: str) -> str:
    """First line of a recipe's documentation."""
    found = _find(name)
    module = inspect.getmodule(found) if found.__name__ == "recipe" else None
    return (inspect.getdoc(module or found) or "").partition("\n")[0]


def _modules() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def _recipes(module_name: str) -> dict[str, Recipe]:
    """Recipes of a module that ships, by name, in the order of the file."""
    module = importlib.import_module(f"{__name__}.{module_name}")
    return {
        module_name if name == "recipe" else f"{module_name}_{name}": value
        for name, value in vars(module).items()
        if _is_recipe(value, module) and not name.startswith("_")
    }


def _is_recipe(value: object, module: ModuleType) -> bool:
    return (
        inspect.isfunction(value)
        and value.__module__ == module.__name__
        and not inspect.signature(value).parameters
        and get_type_hints(value).get("return") == Sequence[Step]
    )


def _find(name: str) -> Recipe:
    for module_name in _modules():
        if name == module_name or name.startswith(f"{module_name}_"):
            found = _recipes(module_name).get(name)
            if found is not None:
                return found
    if "." not in name and importlib.util.find_spec(name) is None:
        raise ParameterError(f"no recipe is named {name!r}; {suggest(name, names())}")
    try:
        recipe: Recipe = importlib.import_module(name).recipe
    except ModuleNotFoundError as error:
        raise ParameterError(f"recipe {name!r} cannot be imported: {error}") from error
    return recipe
