from __future__ import annotations

import numpy as np
import pytest

from stages.track.flow import Motion
from stages.track.foreground import CERTAIN, accumulate, moving_regions, own_evidence

SHAPE = (60, 80)
SQUARE = np.s_[20:40, 30:50]
EVERYWHERE = np.ones(SHAPE, np.bool_)
BOUNDS = {"min_motion": 0.12, "noise_factor": 4.0, "min_proof": 2.0}


def field(inside: float, outside: float = 0) -> np.ndarray:
    out = np.full(SHAPE, outside, np.float32)
    out[SQUARE] = inside
    return out


def still(num_frames: int, residual: dict[int, np.ndarray], cuts: tuple[int, ...] = ()) -> Motion:
    """Motion without flow whose residual shows in some frames only."""
    residual_THW = np.zeros((num_frames, *SHAPE), np.float32)
    for t, image in residual.items():
        residual_THW[t] = image
    cut_T = np.zeros(num_frames, np.bool_)
    cut_T[[0, *cuts]] = True
    flow = np.zeros((num_frames, *SHAPE, 2), np.float32)
    proof_THW = 10 * (residual_THW > 0).astype(np.float32)
    return Motion(flow, flow, residual_THW, proof_THW, residual_THW >= 0, cut_T)


def test_a_proven_region_is_evidence_and_nothing_else_is() -> None:
    evidence = own_evidence(field(2), field(10), EVERYWHERE, **BOUNDS)
    np.testing.assert_array_equal(evidence > 0, field(1) > 0)
    assert evidence.max() == CERTAIN


@pytest.mark.parametrize(
    ("residual", "proof", "why"),
    [
        (field(0.1), field(10), "it moves too little"),
        (field(2), field(1.5), "the picture does not show it"),
        (field(2), field(-10), "the camera explains it better"),
        (field(2, outside=1.9), field(10, outside=-5), "all of the frame moves like this"),
    ],
)
def test_what_is_no_evidence(residual: np.ndarray, proof: np.ndarray, why: str) -> None:
    rng = np.random.default_rng(0)
    residual = residual + rng.uniform(0, 0.02, SHAPE).astype(np.float32)
    if "all" in why:
        residual += rng.normal(0, 0.1, SHAPE).astype(np.float32)
    assert not own_evidence(residual, proof, EVERYWHERE, **BOUNDS).any(), why


def test_a_smooth_object_is_proven_by_its_outline() -> None:
    proof = field(10)
    proof[24:36, 34:46] = 0
    evidence = own_evidence(field(2), proof, EVERYWHERE, **BOUNDS)
    np.testing.assert_array_equal(evidence > 0, field(1) > 0)


def test_the_halo_of_an_object_on_a_plain_wall_is_cut() -> None:
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distance = np.maximum(
        np.maximum(20 - rows, rows - 39), np.maximum(30 - columns, columns - 49)
    ).clip(0)
    residual = (2 * 0.93**distance).astype(np.float32)  # leaks over the whole frame
    evidence = own_evidence(residual, field(10), EVERYWHERE, **{**BOUNDS, "noise_factor": 0})
    assert evidence[SQUARE].all()
    assert not evidence[distance > 8].any()


def test_the_flow_of_a_plain_wall_is_no_measure_of_noise() -> None:
    rng = np.random.default_rng(0)
    residual = np.where(field(1) > 0, 2, rng.uniform(0, 4, SHAPE)).astype(np.float32)
    proof = field(10)
    assert not own_evidence(residual, proof, EVERYWHERE, **BOUNDS).any()
    assert own_evidence(residual, proof, field(1) > 0, **BOUNDS)[30, 40] == CERTAIN


def test_evidence_bridges_a_rest_between_two_moves_and_no_more() -> None:
    evidence = accumulate(still(24, {2: field(2), 7: field(2)}), **BOUNDS)
    seen = (evidence >= 1)[:, 30, 40]
    assert seen[2:8].all()
    assert not seen[12:].any()
    assert not (evidence >= 1)[:, 5, 5].any()


def test_evidence_does_not_cross_a_cut() -> None:
    evidence = accumulate(still(6, {2: field(2)}, cuts=(3,)), **BOUNDS)
    assert evidence[1, 30, 40] > 0
    assert not evidence[3:].any()


def test_regions_come_largest_first_and_specks_do_not() -> None:
    evidence = np.zeros(SHAPE, np.float32)
    evidence[2:10, 2:10] = 2
    evidence[20:50, 50:75] = 1
    evidence[30:32, 10:12] = 3
    first, second = moving_regions(evidence, min_area=0.004)
    assert (first.sum(), second.sum()) == (30 * 25, 64)


def test_parts_that_nearly_touch_are_one_region_without_the_gap() -> None:
    evidence = np.zeros(SHAPE, np.float32)
    evidence[10:50, 20:30] = evidence[10:50, 35:45] = 2
    (region,) = moving_regions(evidence, min_area=0.004)
    assert region.sum() == 2 * 40 * 10


def test_a_blank_frame_has_no_regions() -> None:
    assert moving_regions(np.zeros(SHAPE, np.float32), min_area=0.004) == []
