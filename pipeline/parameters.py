"""Frozen parameters that know where each of their values comes from.

A constant names its source where it stands: a default in its class (`constant`), a value
that a recipe or a preset gives in that line (`cited`). `resolve` tells both for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, TypeVar, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    model_validator,
)
from pydantic.fields import FieldInfo

OWN = "tubelet"  # as a source: our own choice
RECIPE = "recipe"  # what the recipe is about
T = TypeVar("T")


_NOTHING = object()


@dataclass(frozen=True)
class _Cited:
    value: Any
    source: str | None


def constant(default: Any, source: str, **bounds: Any) -> Any:
    """A field's default and where it comes from; `bounds` are those of pydantic's `Field`."""
    return Field(default, json_schema_extra={"source": source}, **bounds)


def cited(value: T, source: str) -> T:
    """A value to give to a parameter, with where it comes from.

    `Parameters` come back as they are: the source is that of all values they were given
    without one of their own.
    """
    if isinstance(value, Parameters):
        copy = value.model_copy()
        given = value.model_fields_set
        copy._sources = {name: value._sources.get(name) or source for name in given}
        return copy
    return cast(T, _Cited(value, source))


def cited_all(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """A preset's values, each with a source; those that have one of their own keep it."""
    return {
        name: cited_all(value, source)
        if isinstance(value, Mapping)
        else value
        if isinstance(value, _Cited)
        else cited(value, source)
        for name, value in values.items()
    }


class Parameters(BaseModel):
    """Base of stages, variants and groups of settings.

    Class attributes: `presets` maps a name, chosen by the field ``preset``, to the values it
    stands for; the key holds what really counts, because they are filled in first, and a
    value given by name wins. `origin` is the source of defaults that name none.

    A mapping given for a group of parameters changes what it names; the others stay as the
    field's own default has them, not as the group's class.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    origin: ClassVar[str | None] = None
    _sources: dict[str, str | None] = PrivateAttr(default_factory=dict)

    def idle(self) -> frozenset[str]:
        """Fields that have no effect beside the others' values."""
        return frozenset()

    def consequences(self) -> Iterable[tuple[str, Any, str]]:
        """Name, value and source of what follows from the values, or is no parameter."""
        return ()

    def choice(self) -> str | None:
        """Their name, if they are one of several named choices (`pipeline.variant`)."""
        return None

    def __eq__(self, other: object) -> bool:
        """Whether the values are equal, wherever they come from."""
        return type(self) is type(other) and self.__dict__ == other.__dict__

    @model_validator(mode="wrap")
    @classmethod
    def _take(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(values, dict):
            return handler(values)
        values = cls._completed(values)
        model = handler({name: _uncited(v) for name, v in values.items()})
        model._sources = {name: v.source for name, v in values.items() if isinstance(v, _Cited)}
        return model

    @classmethod
    def _completed(cls, values: dict[str, Any]) -> dict[str, Any]:
        if cls.presets:
            name = values.get("preset", cls.model_fields["preset"].default)
            values = _merged(cls.presets.get(_uncited(name), {}), values)
        groups = {
            name: _members(field)
            for name, field in cls.model_fields.items()
            if isinstance(values.get(name), Mapping)
            and isinstance(field.default, Parameters)
            and type(field.default) is field.annotation  # no family, of which to choose another
        }
        return _merged(groups, values)


@dataclass(frozen=True)
class Resolved:
    """A parameter's value in JSON's types, and where it comes from, if that is known.

    ``owner`` is the class that has the parameter; ``idle`` tells that it has no effect.
    """

    path: str
    value: Any
    source: str | None
    owner: type[Parameters]
    idle: bool


def resolve(
    model: Parameters,
    *,
    prefix: str = "",
    given_by: str | None = None,
    idle: bool = False,
    preset: Mapping[str, Any] | None = None,
) -> Iterator[Resolved]:
    """Every parameter of `model` and of the groups in it, in the order of the classes.

    Of values that were given to `model` without a source, it is `given_by`; `preset` is what
    the preset of a group around it stands for in `model`.
    """
    dumped = model.model_dump(mode="json")
    unused = model.idle()
    preset = model.presets.get(dumped["preset"], {}) if model.presets else preset or {}
    for name, field in type(model).model_fields.items():
        value, path = getattr(model, name), prefix + name
        chosen = value.choice() if isinstance(value, Parameters) else None
        source = model._sources.get(name)
        if source is None and name in model.model_fields_set:
            source = given_by
        default = field.get_default()
        if source is None and (default == value or (chosen is not None and default == chosen)):
            source = _source_of(field) or type(model).origin
        part = _uncited(preset.get(name, _NOTHING))
        if part == value and source is not None and not isinstance(value, Parameters):
            source = f"{source} (preset)"
        here = Resolved(path, dumped[name], source, type(model), idle or name in unused)
        if not isinstance(value, Parameters):
            yield here
            continue
        if chosen is not None:
            yield replace(here, value=chosen, source=source or RECIPE)
        yield from resolve(
            value,
            prefix=f"{path}.",
            given_by=source,
            idle=here.idle,
            preset=part if isinstance(part, Mapping) else None,
        )
    for name, value, source in model.consequences():
        yield Resolved(prefix + name, value, source, type(model), idle)


def _members(field: FieldInfo) -> dict[str, _Cited]:
    """What a field's default, a group, was given; the rest is as its class has it."""
    group: Parameters = field.default
    sources = dict.fromkeys(group.model_fields_set, _source_of(field)) | group._sources
    return {name: _Cited(getattr(group, name), sources[name]) for name in group.model_fields_set}


def _source_of(field: FieldInfo) -> str | None:
    extra = field.json_schema_extra
    return str(extra["source"]) if isinstance(extra, dict) else None


def _uncited(value: Any) -> Any:
    return value.value if isinstance(value, _Cited) else value


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both mappings, `over` winning value by value, also inside of nested mappings."""
    out = {**under, **over}
    for name, value in over.items():
        if isinstance(value, Mapping) and isinstance(under.get(name), Mapping):
            out[name] = _merged(under[name], value)
    return out


def filled_values(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """What a preset stands for, by dotted path; `values` is one of `Parameters.presets`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        value = _uncited(value)
        nested = isinstance(value, Mapping)
        found |= filled_values(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return found
