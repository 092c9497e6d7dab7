"""``stage.param=value``: change any parameter of any step of a recipe, typed and checked."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from pydantic import ValidationError

from pipeline.graph import Step, rebuild, walk
from pipeline.parameters import filled_values
from pipeline.source import Source
from pipeline.stage import Stage
from pipeline.variant import Variant
from pipeline.wording import suggest
from storage_schemas.errors import ParameterError


def apply_overrides(targets: Sequence[Step], settings: Iterable[str]) -> list[Step]:
    """The recipe's graph with parameters replaced.

    Parameters
    ----------
    targets : sequence of Step
    settings : iterable of str
        ``NAME.PARAM=VALUE`` where NAME is a step's name, or a stage's name for all steps of
        that stage; PARAM may be dotted (``pretrain.method.num_patches``). VALUE is JSON, or
        else taken as text. ``source=NAME`` puts another source in the place of the recipe's.

    Raises
    ------
    ParameterError
        Naming the nearest valid name, or the value and its bound.
    """
    targets, settings = choose_source(targets, settings)
    changes = changes_of(targets, settings)

    def change(step: Step) -> Stage:
        return _changed(step, changes[step.name]) if step.name in changes else step.stage

    return rebuild(targets, change)


def changes_of(targets: Sequence[Step], settings: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What settings change: step name -> dotted parameter -> value; see `apply_overrides`."""
    changes: dict[str, dict[str, Any]] = {}
    steps = list(walk(targets, unread=True))
    for setting in settings:
        path, equals, text = setting.partition("=")
        name, dot, parameter = path.strip().partition(".")
        if not (equals and dot and parameter):
            raise ParameterError(f"--set takes stage.param=value, not {setting!r}")
        chosen = [s for s in steps if s.name == name] or [s for s in steps if s.stage.name == name]
        if not chosen:
            known = list(dict.fromkeys([s.name for s in steps] + [s.stage.name for s in steps]))
            raise ParameterError(f"no stage is named {name!r}; {suggest(name, known)}")
        for step in chosen:
            changes.setdefault(step.name, {})[parameter] = _value(text)
    return changes


def choose_source(
    targets: Sequence[Step], settings: Iterable[str]
) -> tuple[Sequence[Step], list[str]]:
    """Follow ``source=NAME``; the other settings are given back.

    The videos that the recipe reads then come from that data set, with its own defaults.
    Steps that are called after the old source are called after the new one.

    Raises
    ------
    ParameterError
        If no source is called so, or the recipe has none or several to replace.
    """
    others = []
    for setting in settings:
        name, _, value = (part.strip() for part in setting.partition("="))
        if name != "source":
            others.append(setting)
            continue
        wanted = Source.find(value)
        if wanted.roles:
            raise ParameterError(f"source {value!r} reads what another stage makes; name a recipe")
        targets = _with_source(targets, source_on_disk(targets, f"--set {setting}"), wanted())
    return targets, others


def source_on_disk(targets: Sequence[Step], why: str) -> Step:
    """The step that reads videos from disk; raises `ParameterError` unless there is one."""
    found = [s for s in walk(targets, unread=True) if isinstance(s.stage, Source) and not s.inputs]
    if not found:
        raise ParameterError(f"{why}: this recipe makes its own videos and reads none from disk")
    if len(found) != 1:
        raise ParameterError(
            f"{why}: the recipe reads {len(found)} sources from disk "
            f"({', '.join(step.name for step in found)}), not one: set the path of each by its name"
        )
    return found[0]


def _with_source(targets: Sequence[Step], old: Step, source: Source) -> list[Step]:
    def rename(step: Step) -> str:
        reads_it = any(old in steps for steps in step.inputs.values())
        if old.name != old.stage.name:  # the recipe's own name, which fits any source
            return step.name
        if step is old or (reads_it and step.name.startswith(f"{old.name}_")):
            return source.name + step.name.removeprefix(old.name)
        return step.name

    return rebuild(targets, lambda step: source if step is old else step.stage, rename)


def _changed(step: Step, parameters: dict[str, Any]) -> Stage:
    stage = step.stage
    dumped = stage.model_dump(mode="json")
    for path, value in parameters.items():
        holder, last = _place(step, dumped, path)
        if last == "preset":
            _drop_filled(stage, dumped, path, given=set(parameters))
        old = _value_at(stage, path)
        holder[last] = value
        if isinstance(old, Variant) and isinstance(value, str):
            holder[last] = _chosen(old, value)
            if None not in holder[last].values():
                stage = _validated(step, dumped)
                dumped = stage.model_dump(mode="json")  # its own parameters may be set next
    return _validated(step, dumped)


def _place(step: Step, dumped: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    """The mapping that holds the last name of a dotted path, and that name."""
    holder: Any = dumped
    *parents, last = path.split(".")
    for depth, name in enumerate([*parents, last]):
        if not isinstance(holder, dict) or name not in holder:
            where = ".".join([step.name, *parents[:depth]])
            known = sorted(holder) if isinstance(holder, dict) else []
            raise ParameterError(f"{where} has no parameter {name!r}; {suggest(name, known)}")
        if depth < len(parents):
            holder = holder[name]
    return holder, last


def _value_at(model: Any, path: str) -> Any:
    """What a stage holds at a dotted path; None inside of plain mappings."""
    for name in path.split("."):
        model = getattr(model, name, None)
    return model


def _chosen(old: Variant, name: str) -> dict[str, Any]:
    """Another choice of a family, with what a recipe sets for any of them.

    A recipe for small machines gives its method short, small clips; another method, chosen
    by name, is to have them as well. Required parameters are None until they are set.
    """
    new = old.family().find(name).model_fields
    dumped = old.model_dump(mode="json")
    carried = {field: dumped[field] for field in sorted(old.carried & new.keys() & dumped.keys())}
    required = {field: None for field, info in new.items() if info.is_required()}
    return {"name": name, **required, **carried}


def _drop_filled(
    stage: Stage, dumped: dict[str, Any], path: str, *, given: Collection[str]
) -> None:
    """Take out what the old preset at `path` had filled in.

    What is `given` now, or what a recipe set otherwise than the preset, stays.
    """
    parents = path.split(".")[:-1]
    model: Any = _value_at(stage, ".".join(parents)) if parents else stage
    filled = filled_values(model.presets.get(model.preset, {}))
    for name in {name for values in model.presets.values() for name in filled_values(values)}:
        *above, last = [*parents, *name.split(".")]
        holder: Any = dumped
        for group in above:  # one may be None, or taken out as a whole
            holder = holder.get(group) if isinstance(holder, dict) else None
        if not isinstance(holder, dict) or ".".join([*above, last]) in given:
            continue
        if name not in filled or _value_at(model, name) == filled[name]:
            holder.pop(last, None)


def _validated(step: Step, dumped: dict[str, Any]) -> Stage:
    try:
        return type(step.stage).model_validate(dumped)
    except ValidationError as error:
        problems = []
        for e in error.errors():
            place = ".".join([step.name, *(str(part) for part in e["loc"])])
            missing = e["input"] is None
            problems.append(
                f"{place} has no default; add --set {place}=VALUE"
                if missing
                else f"{place} = {e['input']!r}: {e['msg']}"
            )
        raise ParameterError("; ".join(problems)) from error


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
