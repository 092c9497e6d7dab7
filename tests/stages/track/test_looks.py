from __future__ import annotations

import numpy as np
import pytest

from stages.track.looks import alike, histograms, part
from stages.track.tube import Patch, Tube


def film(shades: list[int]) -> tuple[Tube, list[np.ndarray]]:
    """A square in each frame, of a shade and with a colour of its own, and its tube."""
    # The square's corner is odd: the colour planes hold every second pixel.
    grey = np.full((len(shades), 40, 41), 90, np.uint8)
    colour = np.full((len(shades), 20, 20), 128, np.uint8)
    tube = Tube()
    for t, shade in enumerate(shades):
        grey[t, 11:27, 9:25] = shade
        colour[t, 6:14, 5:13] = 255 - shade
        tube.see(t, Patch(9, 11, np.ones((16, 16), np.bool_)), 1.0, 1.0)
    return tube, [grey, colour]


@pytest.mark.parametrize("at", [6, 15, 24])
def test_a_tube_is_cut_where_it_goes_on_with_another_object(at: int) -> None:
    tube, planes = film([40] * at + [220] * (30 - at))
    one, other = part([tube], planes)
    assert sorted(one.patches) == sorted(one.scores) == sorted(one.strengths) == [*range(at)]
    assert sorted(other.patches) == [*range(at, 30)]


def test_each_change_is_found() -> None:
    tube, planes = film([40] * 10 + [220] * 10 + [120] * 10)
    assert [min(one.patches) for one in part([tube], planes)] == [0, 10, 20]


@pytest.mark.parametrize("other", [[], [220] * 4, [42] * 10], ids=["none", "short", "slight"])
def test_what_looks_alike_stays_one(other: list[int]) -> None:
    tube, planes = film([40] * 12 + other + [40] * 12)
    (same,) = part([tube], planes)
    assert same.patches == tube.patches


def test_frames_that_are_bridged_stay_with_what_was_before() -> None:
    tube, planes = film([40] * 10 + [220] * 10)
    for t in (8, 9):
        del tube.strengths[t]
    assert [sorted(one.patches) for one in part([tube], planes)] == [[*range(10)], [*range(10, 20)]]


def test_histograms_count_what_lies_under_the_mask_only() -> None:
    tube, planes = film([40])
    found = histograms(tube.patches[0], 0, planes).reshape(2, -1)
    assert found.sum(1).tolist() == [256, 256]
    assert (found > 0).sum(1).tolist() == [1, 1], "one shade each"


def test_alike_does_not_depend_on_area() -> None:
    one, other = np.array([2.0, 2.0, 0.0]), np.array([[4.0, 4.0, 0.0], [0.0, 0.0, 1.0]])
    assert alike(one, other).tolist() == [1.0, 0.0]
