"""Keys: every parameter counts, nothing else does."""

from __future__ import annotations

import importlib.util
from typing import Any, get_args

import pytest
from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.keys import artifact_key, parameters_of
from pipeline.source import Source
from pipeline.stage import Stage
from stages.detect.detector import Detector
from stages.learning.method import Method
from workflows.catalogue import find_stages

# Values for fields whose type does not tell another valid one.
OTHER: dict[str, Any] = {
    "num_frames": 24,
    "strides": [1, 2],
    "inner_probabilities": [0.2, 0.8],
    "interpolation": "linear",
    "classes": ["person"],
    "short_side": 130,
    "long_side": 160,
    "short_sides": [120],
    "initial_std": 0.5,
    "colour_law": {},
    "weights": __file__,
    "mapping": __file__,
    "max_boxes": 7,
    "fps_cap": 5.0,
    "scales": [300],
    "ks": [1, 2],
    "protocols": ["B"],
    "milestones": [7],
    "min_aspect": 0.25,
    "max_aspect": 3.0,
    "hidden": 24,
    "max_gap": 90,
    "lesser_speeds": [1],
    "num_backgrounds": 2,
    "num_patterns": 2,
    "blur_taps": 5,
    "rate_per": 16,
    "context": 7,
    "warm_start": False,
    "kinds": ["cam"],
}


def other_value(name: str, field: FieldInfo, value: Any) -> Any:
    if name in OTHER and OTHER[name] != value:
        return OTHER[name]
    choices = get_args(field.annotation)
    if choices and all(isinstance(choice, str | int) for choice in choices):
        return next(choice for choice in choices if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        bounds = {type(m): m for m in field.metadata}
        step = bounds[MultipleOf].multiple_of if MultipleOf in bounds else 1
        for candidate in (value + step, value - step, value / 2, value + 0.01):
            if isinstance(value, int) and int(candidate) != candidate:
                continue
            if (
                candidate != value
                and (Ge not in bounds or candidate >= bounds[Ge].ge)
                and (Gt not in bounds or candidate > bounds[Gt].gt)
                and (Le not in bounds or candidate <= bounds[Le].le)
                and (Lt not in bounds or candidate < bounds[Lt].lt)
            ):
                return type(value)(candidate)
    if isinstance(value, tuple) and all(isinstance(v, float) for v in value):
        return tuple(v / 2 for v in value)
    if isinstance(value, str):
        return f"{value} changed"
    raise AssertionError(f"give another value for {name} ({field.annotation}) in OTHER")


def variations(model: BaseModel, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Every field, nested ones too, with another valid value."""
    found = []
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            found += variations(value, (*path, name))
        else:
            found.append(((*path, name), other_value(name, field, value)))
    return found


def with_value(stage: Stage, path: tuple[str, ...], value: Any) -> Stage:
    dumped = stage.model_dump(mode="json")
    holder = dumped
    for name in path[:-1]:
        holder = holder[name]
    holder[path[-1]] = value
    return type(stage).model_validate(dumped)


STAGES = [stage for stage in find_stages() if not issubclass(stage, Source)]


@pytest.mark.parametrize("stage", STAGES, ids=lambda s: s.name)
def test_every_field_of_every_stage_is_in_the_key(
    stage: type[Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A key needs no package: values that ask for an extra must be told apart without it.
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    instance = stage()
    keys = {artifact_key(instance, {})}
    changed = variations(instance)
    for path, value in changed:
        keys.add(artifact_key(with_value(instance, path, value), {}))
    assert len(keys) == 1 + len(changed)


def test_the_ten_stages_of_the_mission_are_found() -> None:
    names = {stage.name for stage in find_stages()}
    assert names >= {
        "folder", "ucf101", "motion_shapes", "decode", "track", "slic", "felzenszwalb",
        "random_boxes", "detect", "synthesize", "shard", "pretrain", "features", "retrieval",
        "linear_probe", "report",
    }  # fmt: skip


@pytest.mark.parametrize("name", Method.names())
def test_every_field_of_every_method_is_in_the_key(name: str) -> None:
    from stages.pretrain.pretrain import Pretrain

    method = Method.find(name)()
    keys = {artifact_key(Pretrain(method=method), {})}
    changed = variations(method)
    for path, value in changed:
        other = with_value(Pretrain(method=method), ("method", *path), value)
        keys.add(artifact_key(other, {}))
    assert len(keys) == 1 + len(changed)


@pytest.mark.parametrize("name", Detector.names())
def test_the_detector_is_in_the_key(name: str) -> None:
    # Version and name of the choice must be dumped, not only its own fields.
    if name == "nanodet":
        dumped = parameters_of(next(s for s in STAGES if s.name == "detect")())["detector"]
        assert dumped["name"] == name
        assert dumped["version"] >= 1


def test_version_and_inputs_are_in_the_key() -> None:
    from stages.propose.slic import Slic

    one = artifact_key(Slic(), {"frames": ["a"]})
    assert one != artifact_key(Slic(), {"frames": ["b"]})

    class Newer(Slic, name="slic", version=Slic.version + 1):
        pass

    assert artifact_key(Newer(), {"frames": ["a"]}) != one


def test_keys_are_what_they_were() -> None:
    """Keys name artifacts in people's stores: this must change with a version only."""
    from stages.propose.slic import Slic

    assert artifact_key(Slic(), {"frames": ["decode-0"]}) == "slic-0439a27b31acaaa41c8f20ed"
