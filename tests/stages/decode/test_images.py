"""Images as videos: order, places, times, bytes that are kept, and what is damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stages.decode.decode import Decode
from stages.decode.images import image_files
from storage_schemas.errors import BadVideo
from storage_schemas.frames import Frames
from storage_schemas.videos import VideoFile


def picture(value: int, height: int = 40, width: int = 60) -> NDArray[np.uint8]:
    """A patch of one grey before a gradient."""
    image = np.tile(np.linspace(0, 255, width).astype(np.uint8)[None, :, None], (height, 1, 3))
    image[10:30, 10:30] = value
    return image


def save(path: Path, value: int, **size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture(value, **size))
    return path


def decode(path: Path, **parameters: Any) -> Frames:
    return Decode(**parameters).process(videos=VideoFile("a", "digest", 1, path))


def patches(frames: Frames) -> list[int]:
    return [round(float(image[12:28, 12:28].mean())) for image in frames.frames_THWC]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(1, 12):
        save(tmp_path / "7" / f"{number:05d}.jpg", 10 * number)
    return tmp_path / "7"


def test_a_folder_is_a_video_at_the_given_rate(folder: Path) -> None:
    (folder / "._00001.jpg").write_bytes(b"Mac OS")
    (folder / "Thumbs.db").touch()
    frames = decode(folder)
    assert patches(frames) == pytest.approx(np.arange(10, 120, 10), abs=1)
    assert frames.pts_seconds.tolist() == pytest.approx([i / 12 for i in range(11)])
    assert (frames.probe.codec, frames.probe.status) == ("jpg", "complete")
    assert (frames.probe.frames_expected, frames.probe.average_fps) == (11, 12)
    assert decode(folder, image_fps=25).pts_seconds[1] == 1 / 25


def test_jpeg_files_that_keep_their_size_are_stored_byte_by_byte(folder: Path) -> None:
    frames = decode(folder)
    assert frames.jpegs[3] == (folder / "00004.jpg").read_bytes()
    smaller = decode(folder, short_side=20)
    assert (smaller.height, smaller.width) == (20, 30)
    assert smaller.probe.source_height == 40
    assert len(smaller) == 11


def test_numbers_order_frames_also_without_leading_zeros(tmp_path: Path) -> None:
    for number in (2, 10, 1):
        save(tmp_path / "x" / f"image_{number}.png", number)
    files = image_files(tmp_path / "x")
    assert files is not None
    assert [path.name for path in files] == ["image_1.png", "image_2.png", "image_10.png"]
    assert image_files(tmp_path / "x.mp4") is None


def test_an_image_is_a_video_of_one_frame(tmp_path: Path) -> None:
    one = save(tmp_path / "n02%3d 1.JPEG", 99)
    frames = decode(one)
    assert (len(frames), frames.jpegs[0]) == (1, one.read_bytes())
    png = decode(save(tmp_path / "a.png", 99))
    assert patches(png) == pytest.approx([99], abs=1)
    assert png.jpegs[0].startswith(b"\xff\xd8")


def test_a_lost_frame_leaves_its_place_open(folder: Path) -> None:
    (folder / "00003.jpg").unlink()
    frames = decode(folder)
    assert frames.source_frames.tolist() == [0, 1, *range(3, 11)]
    assert frames.pts_seconds[2] == 3 / 12
    (folder / "00004.jpg").unlink()
    with pytest.raises(BadVideo, match="9 of 11 frames decoded"):
        decode(folder)
    assert len(decode(folder, partial="keep")) == 9


@pytest.mark.parametrize("damage", ["empty", "cut", "text"])
def test_damaged_images_are_lost_frames(folder: Path, damage: str) -> None:
    for name in ("00005.jpg", "00006.jpg"):
        whole = (folder / name).read_bytes()
        content = {"empty": b"", "cut": whole[: len(whole) // 2], "text": b"not an image"}[damage]
        (folder / name).write_bytes(content)
    with pytest.raises(BadVideo, match="9 of 11 frames decoded"):
        decode(folder)
    assert 4 not in decode(folder, partial="keep").source_frames


def test_images_of_another_size_get_that_of_the_first(folder: Path) -> None:
    save(folder / "00002.jpg", 20, height=80, width=120)
    frames = decode(folder)
    assert frames.frames_THWC.shape == (11, 40, 60, 3)


def test_a_rate_cap_picks_by_time(folder: Path) -> None:
    assert decode(folder, fps_cap=4).source_frames.tolist() == [0, 3, 6, 9]


def test_nothing_to_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    with pytest.raises(BadVideo, match="the folder holds no image"):
        decode(tmp_path / "1")
    (tmp_path / "1/00001.jpg").touch()
    with pytest.raises(BadVideo, match=r"0 of 1 images can be read, the first is '00001\.jpg'"):
        decode(tmp_path / "1")
