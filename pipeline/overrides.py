"""``stage.param=value``: change any parameter of any step of a recipe, typed and checked."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError

from pipeline.graph import Step, rebuild, walk
from pipeline.stage import Stage
from storage_schemas.errors import ParameterError


def apply_overrides(targets: Sequence[Step], settings: Iterable[str]) -> list[Step]:
    """The recipe's graph with parameters replaced.

    Parameters
    ----------
    targets : sequence of Step
    settings : iterable of str
        ``NAME.PARAM=VALUE`` where NAME is a step's name, or a stage's name for all steps of
        that stage; PARAM may be dotted (``pretrain.method.num_patches``). VALUE is JSON, or
        else taken as text.

    Raises
    ------
    ParameterError
        Naming the nearest valid name, or the value and its bound.
    """
    changes: dict[str, dict[str, Any]] = {}
    steps = list(walk(targets))
    for setting in settings:
        path, equals, text = setting.partition("=")
        name, dot, parameter = path.strip().partition(".")
        if not (equals and dot and parameter):
            raise ParameterError(f"--set takes stage.param=value, not {setting!r}")
        chosen = [s for s in steps if s.name == name] or [s for s in steps if s.stage.name == name]
        if not chosen:
            known = list(dict.fromkeys([s.name for s in steps] + [s.stage.name for s in steps]))
            raise ParameterError(f"no stage is named {name!r}; {_nearest(name, known)}")
        for step in chosen:
            changes.setdefault(step.name, {})[parameter] = _value(text)

    def change(step: Step) -> Stage:
        return _changed(step, changes[step.name]) if step.name in changes else step.stage

    return rebuild(targets, change)


def _changed(step: Step, parameters: dict[str, Any]) -> Stage:
    stage = step.stage
    dumped = stage.model_dump(mode="json")
    for path, value in parameters.items():
        holder: Any = dumped
        *parents, last = path.split(".")
        for depth, name in enumerate([*parents, last]):
            if not isinstance(holder, dict) or name not in holder:
                where = ".".join([step.name, *parents[:depth]])
                known = sorted(holder) if isinstance(holder, dict) else []
                raise ParameterError(f"{where} has no parameter {name!r}; {_nearest(name, known)}")
            if depth < len(parents):
                holder = holder[name]
        holder[last] = value
    if "preset" in parameters:  # what the old preset had filled in goes
        filled = {name for preset in stage.presets.values() for name in preset}
        dumped = {n: v for n, v in dumped.items() if n not in filled - set(parameters)}
    try:
        return type(stage).model_validate(dumped)
    except ValidationError as error:
        problems = "; ".join(
            f"{step.name}.{'.'.join(str(part) for part in e['loc'])} = {e['input']!r}: {e['msg']}"
            for e in error.errors()
        )
        raise ParameterError(problems) from error


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known) or 'nothing'}"
