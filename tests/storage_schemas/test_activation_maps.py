"""Maps on disk: values come back as they were computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage_schemas.activation_maps import ActivationMap, ActivationMaps
from storage_schemas.errors import SchemaError


def a_map(**more: Any) -> ActivationMap:
    values: dict[str, Any] = {
        "kind": "cam",
        "values_THW": np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32),
        "frames_F": np.array([0, 2, 4], np.int32),
        "view_xyxy": np.array([8, 0, 56, 48], np.float32),
        "text": "Grün 93 %",
    }
    return ActivationMap(**(values | more))


def test_round_trip(tmp_path: Path) -> None:
    box = np.array([1, 2, 3, 4.5], np.float32)
    one, other = a_map(), a_map(kind="attention", asked_frame=7, asked_xyxy=box)
    ActivationMaps({"b.mp4": [one, other], "a.mp4": [], "c.mp4": [other]}).write(tmp_path)
    found = ActivationMaps.open(tmp_path)
    assert list(found.videos) == ["b.mp4", "a.mp4", "c.mp4"]
    assert [len(maps) for maps in found.videos.values()] == [2, 0, 1]
    for before, after in zip((one, other), found.videos["b.mp4"], strict=True):
        for name in ("values_THW", "frames_F", "view_xyxy", "asked_xyxy"):
            expected, got = getattr(before, name), getattr(after, name)
            np.testing.assert_array_equal(expected, got, strict=True)
        for name in ("kind", "text", "asked_frame"):
            assert getattr(before, name) == getattr(after, name)
    assert "(2, 3, 4) over 3 frames" in repr(found.videos["c.mp4"][0])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"values_THW": np.zeros((3, 4), np.float32)}, r"shape \(3, 4\) and 3 frames"),
        ({"frames_F": np.zeros(0, np.int32)}, "and 0 frames"),
        ({"values_THW": np.full((1, 1, 1), np.nan, np.float32)}, "'cam' is not finite"),
        ({"asked_frame": 3}, "needs its frame"),
    ],
)
def test_a_map_refuses_to_be_wrong(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        a_map(**wrong)


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"maps\.arrow"):
        ActivationMaps.open(tmp_path)
