"""Parameters: values, presets, and where each value comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

import pytest
from pydantic import ValidationError

from pipeline.parameters import Parameters, cited, cited_all, constant, filled_values, resolve


class Inner(Parameters):
    depth: int = constant(3, "paper", ge=1)
    width: int = constant(8, "code")
    plain: int = 0

    def idle(self) -> frozenset[str]:
        return frozenset({"width"} if self.depth == 1 else ())

    def consequences(self) -> Iterable[tuple[str, Any, str]]:
        yield "area", self.depth * self.width, "depth * width"


class Outer(Parameters):
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "a": {"inner": {"depth": cited(4, "table a")}, "rate": 1.0},
        "b": {"inner": {"depth": cited(5, "table b")}, "rate": cited(2.0, "table b")},
    }

    preset: Literal["a", "b"] = constant("a", "readme")
    rate: float = constant(1.0, "readme")
    inner: Inner = Inner()
    other: Inner = constant(Inner(depth=7, plain=1), "appendix")


class Ours(Outer):
    origin = "us"


def sources(model: Parameters, **how: Any) -> dict[str, tuple[Any, str | None]]:
    return {place.path: (place.value, place.source) for place in resolve(model, **how)}


def test_a_default_has_the_source_of_its_line() -> None:
    assert sources(Inner()) == {
        "depth": (3, "paper"),
        "width": (8, "code"),
        "plain": (0, None),
        "area": (24, "depth * width"),
    }
    assert sources(Inner(depth=3))["depth"] == (3, "paper")


def test_a_value_has_the_source_it_was_cited_with() -> None:
    found = sources(Inner(depth=cited(5, "table 1"), width=9))
    assert found["depth"] == (5, "table 1")
    assert found["width"] == (9, None)  # given, and nobody said whence


def test_a_default_that_is_none_is_no_source_of_a_value() -> None:
    class Capped(Parameters):
        cap: int | None = constant(None, "code")

    assert sources(Capped()) == {"cap": (None, "code")}
    assert sources(Capped(cap=5)) == {"cap": (5, None)}


def test_a_cited_group_is_the_source_of_what_it_was_given() -> None:
    group = cited(Inner(depth=cited(5, "table 1"), width=9), "table 2")
    assert isinstance(group, Inner)
    for found in (sources(group), sources(Outer(other=group), prefix="")):
        prefix = "other." if "rate" in found else ""
        assert found[f"{prefix}depth"] == (5, "table 1")
        assert found[f"{prefix}width"] == (9, "table 2")
        assert found[f"{prefix}plain"] == (0, None)


def test_a_group_that_is_a_default_is_cited_as_a_whole() -> None:
    found = sources(Outer())
    assert found["other.depth"] == (7, "appendix")
    assert found["other.plain"] == (1, "appendix")
    assert found["other.width"] == (8, "code")  # the group's own default


def test_presets_are_filled_in_and_cited() -> None:
    found = sources(Outer(preset="b"))
    assert found["inner.depth"] == (5, "table b (preset)")
    assert found["rate"] == (2.0, "table b (preset)")
    assert sources(Outer())["rate"] == (1.0, "readme (preset)")
    over = sources(Outer(preset=cited("b", "me"), rate=cited(3.0, "me")))
    assert over["rate"] == (3.0, "me")
    assert over["preset"] == ("b", "me")


def test_an_origin_stands_for_defaults_that_name_none() -> None:
    class Own(Inner):
        origin = "us"

    assert sources(Own())["plain"] == (0, "us")
    assert sources(Own())["depth"] == (3, "paper")
    assert sources(Own(plain=1))["plain"] == (1, None)


def test_what_has_no_effect_is_told() -> None:
    idle = {place.path for place in resolve(Outer(inner=Inner(depth=1))) if place.idle}
    assert idle == {"inner.width"}


def test_cited_values_are_validated() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        Inner(depth=cited(0, "nowhere"))
    with pytest.raises(ValidationError, match="Extra inputs"):
        Inner.model_validate({"height": cited(0, "nowhere")})


def test_sources_do_not_count() -> None:
    """Neither in comparisons nor in what becomes a key."""
    model = Inner(depth=cited(5, "table 1"))
    assert model == Inner(depth=5)
    assert hash(model) == hash(Inner(depth=5))
    assert model != Inner(depth=6)
    assert model.model_dump() == {"depth": 5, "width": 8, "plain": 0}
    assert cited(Inner(depth=5), "table 2") == Inner(depth=5)


def test_sources_are_no_part_of_a_shared_default() -> None:
    cited(Outer().other, "somewhere else")
    assert sources(Outer())["other.depth"] == (7, "appendix")


class Law(Parameters):
    hue: float = constant(0.1, "law")
    blur: float = constant(0.5, "law")


class Thing(Parameters):
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "plain": {"law": {"blur": 0.0}},
        "soft": {"law": {"blur": cited(1.0, "soft")}},
    }

    preset: str = "plain"
    law: Law = constant(Law(hue=0.4, blur=0.0), "thing")
    other: Law = Law(hue=0.3)


def test_a_mapping_changes_what_it_names_alone() -> None:
    assert Thing().law == Law(hue=0.4, blur=0.0)
    assert Thing(law={"blur": 0.2}).law == Law(hue=0.4, blur=0.2)
    assert Thing(other={"blur": 0.2}).other == Law(hue=0.3, blur=0.2)
    assert Thing.model_validate({"law": {"hue": 0.2}}).law == Law(hue=0.2, blur=0.0)


def test_a_preset_counts_before_the_default_and_a_given_value_before_both() -> None:
    assert Thing(preset="soft").law == Law(hue=0.4, blur=1.0)
    assert Thing(preset="soft", law={"hue": 0.2}).law == Law(hue=0.2, blur=1.0)
    assert Thing(preset="soft", law={"blur": 0.7}).law == Law(hue=0.4, blur=0.7)
    assert Thing(preset="soft", law=Law()).law == Law()  # given as a whole


def test_what_stays_of_a_group_keeps_its_source() -> None:
    found = sources(Thing(preset="soft"))
    assert found["law.hue"] == (0.4, "thing")
    assert found["law.blur"] == (1.0, "soft (preset)")
    assert sources(Thing(other={"blur": 0.2}))["other.hue"] == (0.3, None)


def test_a_source_for_all_values_of_a_preset_that_have_none() -> None:
    values = cited_all({"depth": cited(5, "table 1"), "width": 9}, "code")
    found = sources(Inner(**values))
    assert found["depth"] == (5, "table 1")
    assert found["width"] == (9, "code")
    assert filled_values({"group": cited_all({"a": {"b": 1}}, "code")}) == {"group.a.b": 1}
