"""Streaming: order, several devices without padding, and a bound on what waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.stage import Context
from stages.evaluate import stream
from stages.evaluate.clips import EvaluationViews
from stages.evaluate.stream import decoded_ahead, map_videos

VIEWS = EvaluationViews(num_clips=2, num_frames=4, size=32)


@pytest.fixture
def videos(make_frames: Any) -> dict[str, Any]:
    return {
        f"{i}.mp4": make_frames(f"{i}.mp4", frames=np.full((8, 32, 32, 3), 20 * i, np.uint8))
        for i in range(7)
    }


def grey(device: torch.device) -> Callable[[torch.Tensor], Mapping[str, torch.Tensor]]:
    return lambda clips: {"grey": clips.float().mean((1, 2, 3, 4))[:, None]}


@pytest.mark.parametrize("devices", [1, 2, 3])
def test_every_video_is_seen_once_whatever_the_number_of_devices(
    videos: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, devices: int
) -> None:
    """7 videos do not divide by 2 or 3: a padding sampler would repeat some."""
    monkeypatch.setattr(stream, "evaluation_devices", lambda name: [torch.device("cpu")] * devices)
    rows: list[tuple[int, str, list[float]]] = []
    progress: list[float] = []
    map_videos(
        videos, VIEWS, network=grey,
        ctx=Context(work=tmp_path, progress=lambda share, text: progress.append(share)),
        done=lambda row, name, found: rows.append((row, name, found["grey"].ravel().tolist())),
    )  # fmt: skip
    assert len(rows) == 7
    for row, video_id, values in rows:
        assert video_id == f"{row}.mp4"
        np.testing.assert_allclose(values, [20 * row] * 2, atol=1)
    assert {row for row, _, _ in rows} == set(range(7))
    assert progress == sorted(progress)
    assert progress[-1] == 1.0


def test_views_go_in_pieces_that_fit(
    videos: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_CPU_PIXELS", 4 * 32 * 32)  # one view
    sizes = []

    def network(device: torch.device) -> Any:
        def forward(clips: torch.Tensor) -> dict[str, torch.Tensor]:
            sizes.append(len(clips))
            return {"row": torch.arange(len(clips))[:, None]}

        return forward

    shapes = []
    map_videos(
        videos, VIEWS, ctx=Context(work=tmp_path, device="cpu"), network=network,
        done=lambda row, video_id, found: shapes.append(found["row"].shape),
    )  # fmt: skip
    assert sizes == [1] * 14
    assert shapes == [(2, 1)] * 7


def test_few_videos_wait(videos: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow reader must not let the whole data set pile up."""
    monkeypatch.setattr(stream, "_AHEAD_BYTES", 2 * VIEWS.nbytes)
    asked = []
    before = set(threading.enumerate())

    def lazily() -> Any:
        for video_id, video in videos.items():
            asked.append(video_id)
            yield video_id, video

    reader = decoded_ahead(lazily(), VIEWS.cut, nbytes=VIEWS.nbytes, decoders=1)
    next(reader)
    time.sleep(0.05)
    assert len(asked) == 3
    reader.close()
    assert set(threading.enumerate()) <= before


def test_an_error_of_a_decoder_is_raised(videos: dict[str, Any], tmp_path: Path) -> None:
    broken = {**videos, "bad.mp4": None}
    with pytest.raises(TypeError):
        map_videos(
            broken, VIEWS, ctx=Context(work=tmp_path, device="cpu"), network=grey,
            done=lambda *_: None,
        )  # fmt: skip
