"""Proposals: worked numbers of constcl.md section 10 (items 13, 14) and the stages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.stage import VideoStage
from stages.propose.felzenszwalb import Felzenszwalb
from stages.propose.random_boxes import RandomBoxes, sample_boxes
from stages.propose.regions import segment_boxes
from stages.propose.slic import Slic


def test_segment_filter_worked_example() -> None:
    labels = np.zeros((100, 100), int)
    labels[:, 50:] = 1
    labels[90:94, 5:35] = 2  # 4 x 30: too thin
    labels[10:30, 60:80] = 3
    regions, boxes = segment_boxes(labels, min_side=0.05, max_side=0.7)
    assert regions.tolist() == [3]
    assert boxes.tolist() == [[60, 10, 80, 30]]
    regions, _ = segment_boxes(labels, min_side=0.0, max_side=1.0, largest=2)
    assert regions.tolist() == [0, 1]


def test_random_box_statistics() -> None:
    boxes = sample_boxes(np.random.default_rng(0), RandomBoxes(num_boxes=60_000))
    x1, y1, x2, y2 = boxes.T
    assert (x2 == 0.999).mean() == pytest.approx(0.301, abs=0.01)
    assert (y2 == 0.999).mean() == pytest.approx(0.376, abs=0.01)
    assert (x2 - x1).mean() == pytest.approx(0.2481, abs=0.004)
    assert (y2 - y1).mean() == pytest.approx(0.2843, abs=0.004)
    area = np.clip(x2 - x1, 0, None) * np.clip(y2 - y1, 0, None)
    assert area.mean() == pytest.approx(0.0774, abs=0.003)
    np.testing.assert_allclose(
        np.quantile(area, [0.05, 0.25, 0.5, 0.75, 0.95]),
        [0.0050, 0.0224, 0.0526, 0.1099, 0.2334],
        atol=0.004,
    )
    assert abs(np.corrcoef(x1, y1)[0, 1]) < 0.02


STAGES = [Slic(), Felzenszwalb(scales=(60,)), RandomBoxes()]


@pytest.mark.parametrize("stage", STAGES, ids=lambda s: s.name)
def test_stages(stage: VideoStage, make_frames: Any) -> None:
    frames = make_frames(num_frames=17, size=(60, 80))
    boxes = stage.process(frames=frames)  # type: ignore[attr-defined]
    assert set(boxes.frame) <= {0, 8, 16}
    assert len(boxes) > 0
    assert (stage.process(frames=frames).xyxy == boxes.xyxy).all()  # type: ignore[attr-defined]
    picture = stage.preview(boxes, frames=frames)
    assert picture is not None
    assert picture.dtype == np.uint8


def test_random_boxes_depend_on_video_and_seed(make_frames: Any) -> None:
    a, b = (RandomBoxes().process(frames=make_frames(name)) for name in ("a.mp4", "b.mp4"))
    assert (a.xyxy != b.xyxy).any()
    other = RandomBoxes(seed=1).process(frames=make_frames("a.mp4"))
    assert (a.xyxy != other.xyxy).any()


def test_only_strided_frames_are_decoded(make_frames: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = make_frames(num_frames=20)
    asked: list[int] = []
    decode = type(frames).decode
    monkeypatch.setattr(type(frames), "decode", lambda self, i: asked.extend(i) or decode(self, i))
    Slic(frame_stride=10).process(frames=frames)
    assert asked == [0, 10]
