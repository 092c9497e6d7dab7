"""Trajectories: worked numbers and properties of ctp.md sections 3 and 10."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.stage import Context
from stages.synthesize.keyframes import ease, interpolate, progress_between, sample_key_frames
from stages.synthesize.synthesize import Synthesize
from stages.synthesize.trajectories import Law, sample_trajectory
from storage_schemas.trajectories import Trajectories


def law(**changes: object) -> Law:
    values = {
        "num_patches": 3, "num_frames": 16, "size": 112, "inner_probabilities": (0.5, 0.3, 0.2),
        "interpolation": "random", "location_velocity": 3.0, "size_velocity": 0.025,
        "visible_probability": 0.8,
    }  # fmt: skip
    return Law(**{**values, **changes})  # type: ignore[arg-type]


def test_easing_worked_numbers() -> None:
    fraction = np.arange(11) / 10
    np.testing.assert_allclose(
        5 * ease(fraction, "accelerate"),
        [0, 0.05, 0.2, 0.45, 0.8, 1.25, 1.8, 2.45, 3.2, 4.05, 5],
    )
    np.testing.assert_allclose(
        5 * ease(fraction, "decelerate"),
        [0, 0.95, 1.8, 2.55, 3.2, 3.75, 4.2, 4.55, 4.8, 4.95, 5],
    )


def test_key_frames_of_16() -> None:
    rng = np.random.default_rng(0)
    one = {
        int(sample_key_frames(rng, num_frames=16, inner_probabilities=(0, 1))[1])
        for _ in range(300)
    }
    assert one == {6, 7, 8, 9}
    two = np.stack(
        [sample_key_frames(rng, num_frames=16, inner_probabilities=(0, 0, 1)) for _ in range(300)]
    )
    assert set(two[:, 1]) == {4, 5}
    assert set(two[:, 2]) == {9, 10}
    counts = np.array(
        [
            len(sample_key_frames(rng, num_frames=16, inner_probabilities=(0.5, 0.3, 0.2)))
            for _ in range(4000)
        ]
    )
    shares = [(counts == n).mean() for n in (2, 3, 4)]
    np.testing.assert_allclose(shares, [0.5, 0.3, 0.2], atol=0.03)


def test_interpolation_hits_the_key_frames() -> None:
    keys = np.array([0, 5, 15])
    places = progress_between(np.random.default_rng(0), keys, interpolation="random")
    assert places.shape == (16,)
    values = interpolate(np.array([1.0, 3.0, -2.0]), places)
    assert values[keys].tolist() == [1, 3, -2]


@pytest.mark.parametrize(("interpolation", "bound"), [("linear", 3.0), ("random", 5.8)])
def test_motion_keeps_its_bounds(interpolation: str, bound: float) -> None:
    for i in range(300):
        one = sample_trajectory(np.random.default_rng(i), law(interpolation=interpolation))
        steps = np.abs(np.diff(one.centres_KT2, axis=1))
        assert steps.max() <= bound + 1e-9
        first = one.sides_KT2[:, :1]
        assert (one.centres_KT2 >= first / 2 - 1e-9).all()
        assert (one.centres_KT2 <= 112 - first / 2 + 1e-9).all()
        assert first.min() >= 9.45
        assert first.max() <= 108.4
        ratio = np.log(one.sides_KT2 / first)
        assert np.abs(ratio).max() <= 0.025 * 15 + 1e-9
        x1, y1, x2, y2 = np.moveaxis(one.boxes_KT4, -1, 0)
        assert ((x1 >= 0) & (y1 >= 0) & (x1 < x2) & (y1 < y2) & (x2 <= 112) & (y2 <= 112)).all()


def test_visibility_and_opacity(tmp_path: Path) -> None:
    bank = Synthesize(num_trajectories=1500).run(ctx=Context(work=tmp_path))
    n, k = np.indices(bank.source_frame_NK.shape)
    assert bank.visible_NKT[:, :, 0].all()
    assert bank.visible_NKT[n, k, bank.source_frame_NK].all()
    assert bank.visible_NKT.mean() == pytest.approx(0.8242, abs=0.01)
    assert bank.opacity_NKT.min() >= 0.8
    assert bank.opacity_NKT.max() <= 1
    shares = np.bincount(bank.shape_NK.ravel(), minlength=3) / bank.shape_NK.size
    np.testing.assert_allclose(shares, [0.5, 0.35, 0.15], atol=0.03)
    soft = bank.edge_NK[bank.edge_NK > 0]
    assert soft.min() >= 0.3
    assert soft.max() <= 0.45
    assert (bank.edge_NK > 0).mean() == pytest.approx(0.5, abs=0.03)


def test_bank_round_trip_and_prefix_stability(tmp_path: Path) -> None:
    small = Synthesize(num_trajectories=5).run(ctx=Context(work=tmp_path))
    large = Synthesize(num_trajectories=9).run(ctx=Context(work=tmp_path))
    assert (large.boxes_NKT4[:5] == small.boxes_NKT4).all()
    small.write(tmp_path)
    again = Trajectories.open(tmp_path)
    assert again.size == 112
    assert (again.boxes_NKT4 == small.boxes_NKT4).all()
    assert (again.visible_NKT == small.visible_NKT).all()


def test_presets_are_resolved_into_the_fields() -> None:
    assert Synthesize().interpolation == "random"
    paper = Synthesize(preset="paper")
    assert (paper.interpolation, paper.inner_probabilities[0]) == ("linear", 0)
    assert Synthesize(preset="paper", interpolation="random").interpolation == "random"
    with pytest.raises(ValueError, match="must be >= 0 and sum to 1"):
        Synthesize(inner_probabilities=(0.5, 0.6))
