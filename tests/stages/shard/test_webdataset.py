"""Tars that other trainers read: fields, times, bounds, the same bytes."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from stages.shard.webdataset import (
    as_movie,
    describe_sample,
    sample_key,
    write_tars,
)
from storage_schemas.boxes import Boxes, encode_mask
from storage_schemas.errors import ParameterError


@pytest.mark.parametrize(
    ("video_id", "beginning"),
    [("a.mp4", "a-"), ("sub/a dog (1) #&é.mp4", "sub_a_dog_1_-"), ("x.y.z/v_1.avi", "x_y_z_v_1-")],
)
def test_keys_have_no_dots(video_id: str, beginning: str) -> None:
    key = sample_key(video_id)
    assert key.startswith(beginning)
    assert "." not in key
    assert key.isascii()


def test_keys_tell_videos_apart() -> None:
    assert len({sample_key(name) for name in ("a.mp4", "a.avi", "a_.mp4", "é.mp4", "è.mp4")}) == 5
    assert len(sample_key(f"{'x' * 300}.mp4")) < 100  # a tar's names are short


def test_a_movie_has_the_stored_images_at_their_times(make_frames: Callable[..., Any]) -> None:
    frames = make_frames(num_frames=5)
    object.__setattr__(frames, "pts_seconds", np.asarray([0.5, 0.54, 0.6, 0.9, 1.0]))
    (movie,) = as_movie(frames).values()
    assert movie == as_movie(frames)["mp4"]
    with av.open(io.BytesIO(movie)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    assert packets == list(frames.jpegs)
    with av.open(io.BytesIO(movie)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, [0, 0.04, 0.1, 0.4, 0.5], atol=1e-5)


def test_boxes_come_back_from_the_json(make_frames: Callable[..., Any]) -> None:
    mask = np.zeros((48, 64), bool)
    mask[3:9, 4:8] = True
    boxes = Boxes(
        video_id="a.mp4", num_frames=12, height=48, width=64,
        frame=np.asarray([0, 1], np.int32),
        xyxy=np.asarray([[0.1, 1, 2, 3], [4, 3, 8, 9]], np.float32),
        track=np.asarray([5, 6], np.int32),
        mask_runs=[encode_mask(mask)] * 2,
    )  # fmt: skip
    text = describe_sample(make_frames(), boxes={"track": boxes}, label={"label": "é"})
    found = json.loads(text)
    columns = found["boxes"]["track"]
    np.testing.assert_array_equal(np.asarray(columns["xyxy"], np.float32), boxes.xyxy)
    assert (columns["track"], columns["frame"], columns["height"]) == ([5, 6], [0, 1], 48)
    assert columns["mask_runs"][0] == encode_mask(mask).tolist()
    assert "score" not in columns
    assert (found["label"], found["num_frames"], len(found["pts_seconds"])) == ("é", 12, 12)


def samples(count: int, size: int = 3000) -> list[tuple[str, dict[str, bytes]]]:
    return [(f"v{i}", {"a.jpg": bytes([i]) * size, "json": b"{}"}) for i in range(count)]


def test_tars_are_bounded_whole_and_the_same(tmp_path: Path) -> None:
    paths = write_tars(samples(7), tmp_path / "a", max_bytes=20_480)
    assert [path.name for path in paths] == ["000000.tar", "000001.tar"]
    assert all(path.stat().st_size <= 20_480 for path in paths)
    names = []
    for path in paths:
        with tarfile.open(path) as tar:
            names += [(entry.name, entry.mtime, entry.uname) for entry in tar]
    assert names == [(f"v{i}.{field}", 0, "") for i in range(7) for field in ("a.jpg", "json")]
    again = write_tars(samples(7), tmp_path / "b", max_bytes=20_480)
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in paths]
    assert len(write_tars(samples(3), tmp_path / "c", max_bytes=10_240)) == 2
    assert len(write_tars(samples(3, 20_000), tmp_path / "d", max_bytes=10_240)) == 3


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    to = tmp_path / "x.tar"
    assert write_tars(samples(2), to, max_bytes=10_240) == [to]
    with pytest.raises(ParameterError, match=r"x.tar exists already; give another file"):
        write_tars(samples(2), to, max_bytes=10_240)
    with pytest.raises(ParameterError, match="exists already; give another folder"):
        write_tars(samples(2), tmp_path, max_bytes=10_240)
    with pytest.raises(ParameterError, match=r"larger than max_bytes 10240; give a folder"):
        write_tars(samples(9), tmp_path / "y.tar", max_bytes=10_240)
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar"]
