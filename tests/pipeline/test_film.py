"""Films are decoded again: frames, sizes, times, and what is drawn where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipeline import film
from pipeline.film import annotate, enlargement, write_film
from pipeline.ink import INK, palette
from pipeline.stage import VideoStage
from storage_schemas.boxes import Boxes
from storage_schemas.errors import MissingDependency
from storage_schemas.frames import Frames


class Strided(VideoStage, name="strided_for_films", version=1):
    frame_stride: int = 4

    def process(self, *, frames: Frames) -> Boxes:
        raise NotImplementedError


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T, H, W, 3) and times of a film, as any player sees them."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return (
        np.stack([frame.to_ndarray(format="rgb24") for frame in frames]),
        np.asarray([frame.time for frame in frames]),
    )


def grey(count: int, size: tuple[int, int]) -> list[np.ndarray]:
    return [np.full((*size, 3), 40 + 10 * t, np.uint8) for t in range(count)]


@pytest.mark.parametrize(
    "times",
    [
        np.arange(12) / 25,
        np.arange(12) * 1001 / 24000,
        np.array([0, 0.04, 0.05, 0.3, 0.31, 1.2, 1.25, 1.26, 2.0, 2.5, 2.51, 2.52]),
        0.4 + np.arange(12) / 30,  # the first frames were damaged
        np.array([7.5]),
    ],
    ids=["25", "23.976", "variable", "late", "one frame"],
)
def test_every_frame_has_its_time(tmp_path: Path, times: np.ndarray) -> None:
    path = tmp_path / "film.mp4"
    write_film(path, grey(len(times), (48, 64)), times, comment="about")
    images, found = read(path)
    assert len(images) == len(times)
    shortest = np.diff(times).min() if len(times) > 1 else 1.0
    np.testing.assert_allclose(found, times, atol=min(1e-4, shortest / 2))
    means = images.mean((1, 2, 3))
    np.testing.assert_allclose(means, 40 + 10 * np.arange(len(times)), atol=3)
    with av.open(str(path)) as container:
        assert container.metadata["comment"] == "about"


@pytest.mark.parametrize("size", [(47, 63), (48, 63), (47, 64), (1, 1), (2, 300)])
def test_odd_sizes_are_extended(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "film.mp4"
    write_film(path, grey(3, size), np.arange(3) / 25, comment="")
    images, _ = read(path)
    assert images.shape[1:3] == tuple(side + side % 2 for side in size)
    assert np.abs(images[2] - 60.0).max() < 12  # the new row is no black line


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_any_encoder_will_do(tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film, "_CODECS", {codec: film._CODECS[codec]})
    path, times = tmp_path / "film.mp4", np.arange(12) * 1001 / 30000
    write_film(path, grey(12, (48, 64)), times, comment="")
    images, found = read(path)
    assert len(images) == 12
    np.testing.assert_allclose(found, times, atol=1e-4)
    monkeypatch.setattr(film, "_CODECS", {"no_such_encoder": {}})
    with pytest.raises(MissingDependency, match=r"pip install .* av"):
        write_film(path, grey(2, (48, 64)), times[:2], comment="")


def test_a_film_of_more_images_than_times_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shorter"):
        write_film(tmp_path / "film.mp4", grey(3, (8, 8)), np.arange(2) / 25, comment="")


@pytest.mark.parametrize(
    ("height", "width", "factor"),
    [(240, 426, 2), (480, 640, 1), (64, 64, 6), (1080, 1920, 1), (4, 90, 14), (1, 1, 360)],
)
def test_small_frames_are_enlarged(height: int, width: int, factor: int) -> None:
    assert enlargement(height, width) == factor


def boxed(count: int, columns: dict[str, Any], at: list[int]) -> Boxes:
    xyxy = np.array([[10 + t, 12, 30 + t, 40] for t in at], np.float32).reshape(-1, 4)
    frame = np.asarray(at, np.int32)
    return Boxes("a.mp4", count, 60, 80, frame=frame, xyxy=xyxy, **columns)


def test_boxes_have_their_colours_where_they_are(make_frames: Any, tmp_path: Path) -> None:
    """The whole way: drawn, encoded, decoded; against a film without boxes."""
    frames = make_frames(frames=np.full((6, 60, 80, 3), 90, np.uint8))
    tubes = boxed(6, {"track": np.full(6, 3, np.int32)}, list(range(6)))
    films = []
    for name, output in (("boxes", tubes), ("plain", frames)):
        images = annotate(Strided(frame_stride=1), output, frames)
        write_film(tmp_path / f"{name}.mp4", images, frames.pts_seconds, comment="")
        films.append(read(tmp_path / f"{name}.mp4")[0].astype(int))
    drawn, plain = films
    scale = enlargement(60, 80)
    for t in range(6):
        x1, y1, x2, y2 = (tubes.xyxy[t] * scale).astype(int)
        borders = [
            drawn[t, y1 + 1, x1 + 40 : x2 - 4], drawn[t, y2 - 2, x1 + 4 : x2 - 4],
            drawn[t, y1 + 40 : y2 - 4, x1 + 1], drawn[t, y1 + 4 : y2 - 4, x2 - 2],
        ]  # fmt: skip
        for border in borders:
            distance = np.abs(np.median(border, axis=0) - palette(3))
            assert distance.max() < 40, "chroma is halved in size, the hue is the palette's"
        changed = np.abs(drawn[t, : 60 * scale] - plain[t, : 60 * scale]).max(-1) > 30
        outside = changed.copy()
        outside[y1 - 2 : y2 + 2, x1 - 2 : x2 + 2] = False
        outside[: y1 + 1, x1 - 2 : x1 + 40] = False  # the plate with the number
        assert changed.mean() > 0.005
        assert outside.mean() < 1e-3


def test_marks_of_a_strided_stage_stay_and_say_so(make_frames: Any) -> None:
    frames = make_frames(frames=np.full((10, 60, 80, 3), 90, np.uint8))
    boxes = boxed(10, {}, [0, 4])  # nothing in frame 8, which was looked at, too
    images = list(annotate(Strided(frame_stride=4), boxes, frames))
    scale = enlargement(60, 80)
    pictures = np.stack(images)[:, : 60 * scale]
    for t, expected in enumerate([0, 0, 0, 0, 4, 4, 4, 4]):
        np.testing.assert_array_equal(pictures[t], pictures[expected])
    assert (pictures[0] != pictures[4]).any()
    assert (pictures[8] == 90).all()
    lines = [image[60 * scale :] for image in images]
    written = [np.flatnonzero((line != INK).any((0, 2)))[-1] for line in lines]
    assert written[0] == pytest.approx(written[4], abs=6)
    assert written[1] > 1.6 * written[0]  # "marks of frame 0"
    assert written[9] < 1.3 * written[0]  # there are none


def test_the_time_line_moves_along(make_frames: Any) -> None:
    frames = make_frames(frames=np.full((6, 60, 80, 3), 90, np.uint8))
    tubes = boxed(6, {"track": np.zeros(6, np.int32)}, list(range(6)))
    images = list(annotate(Strided(frame_stride=1), tubes, frames))
    ticks = [np.flatnonzero((image[-14:] == 90).all((0, 2))).tolist() for image in images]
    assert all(len(tick) == 1 for tick in ticks)
    assert np.diff(np.ravel(ticks)).min() > 50
