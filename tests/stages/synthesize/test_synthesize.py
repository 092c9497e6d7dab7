"""The stage: presets, seeds, and a bank that does not depend on its length."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.keys import artifact_key, parameters_of
from pipeline.stage import Context
from stages.synthesize.synthesize import BLOCK, Synthesize
from storage_schemas.trajectories import Trajectories


def draw(folder: Path, **parameters: Any) -> Trajectories:
    return Synthesize(**parameters).run(ctx=Context(work=folder))


def arrays(bank: Trajectories) -> dict[str, Any]:
    return {f.name: np.asarray(getattr(bank, f.name)) for f in fields(bank)}


def test_round_trip(tmp_path: Path) -> None:
    bank = draw(tmp_path, num_trajectories=5)
    bank.write(tmp_path)
    again = arrays(Trajectories.open(tmp_path))
    for name, values in arrays(bank).items():
        np.testing.assert_array_equal(again[name], values, strict=True)
    assert len(bank) == 5


def test_a_clip_depends_on_seed_and_number_only(tmp_path: Path) -> None:
    long = arrays(draw(tmp_path, num_trajectories=BLOCK + 7))
    for count in (3, BLOCK, BLOCK + 1):
        for name, values in arrays(draw(tmp_path, num_trajectories=count)).items():
            if values.ndim:
                np.testing.assert_array_equal(values, long[name][:count])
    other = arrays(draw(tmp_path, num_trajectories=BLOCK, seed=1))
    assert (other["boxes_NKT4"] != long["boxes_NKT4"][:BLOCK]).any(axis=(1, 2, 3)).all()
    # Blocks differ from each other, too.
    assert (long["boxes_NKT4"][:7] != long["boxes_NKT4"][BLOCK:]).any(axis=(1, 2, 3)).all()


def test_progress_ends_at_one(tmp_path: Path) -> None:
    told: list[float] = []
    context = Context(work=tmp_path, progress=lambda fraction, text: told.append(fraction))
    Synthesize(num_trajectories=BLOCK + 1).run(ctx=context)
    assert told == sorted(told)
    assert told[-1] == 1


def test_speed_scales_with_the_crop(tmp_path: Path) -> None:
    def speed(size: int) -> float:
        boxes = draw(tmp_path, size=size, num_trajectories=1000).boxes_NKT4.astype(float)
        centres = (boxes[..., :2] + boxes[..., 2:]) / 2
        return float(np.abs(centres[:, :, -1] - centres[:, :, 0]).mean() / size)

    assert speed(224) == pytest.approx(speed(112), rel=0.03)


def test_constants_are_the_published_ones() -> None:
    """ctp.md sections 2 and 3; the others are those of ``test_trajectories.py``."""
    stage = Synthesize()
    assert (stage.num_patches, stage.num_frames, stage.size) == (3, 16, 112)
    assert (stage.location_velocity, stage.size_velocity) == (3.0, 0.025)
    assert stage.visible_probability == 0.8
    assert stage.preset == "reference"


def test_presets_are_resolved_into_the_key() -> None:
    reference, paper = Synthesize(), Synthesize(preset="paper")
    assert (reference.inner_probabilities, reference.interpolation) == ((0.5, 0.3, 0.2), "random")
    # 3 to 5 key frames in all, equally often, linear.
    assert paper.inner_probabilities == (0, 1 / 3, 1 / 3, 1 / 3)
    assert paper.interpolation == "linear"
    dumped = parameters_of(paper)
    assert (dumped["interpolation"], dumped["inner_probabilities"][0]) == ("linear", 0)
    mixed = Synthesize(preset="paper", interpolation="random")
    assert mixed.interpolation == "random"
    assert len({artifact_key(stage, {}) for stage in (reference, paper, mixed)}) == 3


@pytest.mark.parametrize("chances", [(0.5, 0.6), (-0.5, 1.5), (), (float("nan"), 1.0)])
def test_probabilities_are_checked(chances: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="must be >= 0 and sum to 1"):
        Synthesize(inner_probabilities=chances)


def test_preview_shows_the_last_boxes(tmp_path: Path) -> None:
    stage = Synthesize(num_trajectories=8, num_patches=1)
    bank = stage.run(ctx=Context(work=tmp_path))
    picture = stage.preview(bank)
    x1, y1, _, y2 = (bank.boxes_NKT4[0, 0, -1] * 224 / 112).round().astype(int)
    assert picture.dtype == np.uint8
    assert picture.shape[1] == pytest.approx(4 * 224, abs=20)
    left_edge = picture[y1:y2, x1].astype(float)
    assert (left_edge.std(axis=-1) > 20).mean() > 0.9  # coloured on grey
