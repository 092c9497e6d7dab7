"""Images as videos: an image is a video of one frame, a folder of them one frame an image.

They carry no times: frame *i* is shown at ``i / image_fps`` seconds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.decode.accounting import FrameAccount
from stages.decode.decoded import DecodedVideo, FrameRate, stored_size
from storage_schemas.errors import BadVideo, SchemaError
from storage_schemas.jpeg import decode_jpeg, encode_jpeg

IMAGE_EXTENSIONS = frozenset([".bmp", ".jpeg", ".jpg", ".png", ".webp"])
_JPEG, _SCAN, _END = b"\xff\xd8\xff", b"\xff\xda", b"\xff\xd9"


def image_files(path: Path) -> list[Path] | None:
    """An image, or the images of a folder in the order of their numbers; None of a video."""
    if path.is_dir():
        images = [p for p in path.iterdir() if _is_image(p) and not p.name.startswith(".")]
        return sorted(images, key=lambda image: (_number(image), image.name))
    return [path] if _is_image(path) else None


def decode_images(
    images: Sequence[Path],
    *,
    image_fps: float,
    short_side: int,
    fps_cap: float | None,
    quality: int,
) -> DecodedVideo:
    """Read images as the frames of a video, one at a time.

    Parameters
    ----------
    images : sequence of Path
        Frames in order. Where their names end in numbers (``00012.jpg``), a number that is
        missing is a frame that is lost, and the others keep their places.
    image_fps : float
        Frames a second.
    short_side, fps_cap, quality
        See `stages.decode.decode.decode_video`.

    Returns
    -------
    DecodedVideo
        A JPEG file that need not be scaled is stored byte by byte: nothing is compressed
        twice. All images get the size of the first.

    Raises
    ------
    BadVideo
        If there is no image, or none can be read.
    """
    import cv2

    if not images:
        raise BadVideo(
            f"the folder holds no image ({' '.join(sorted(IMAGE_EXTENSIONS))}); unpack it again"
        )
    places = _places(images)
    video = DecodedVideo(
        codec=images[0].suffix.lower().lstrip("."),
        tick_seconds=0.0,
        account=FrameAccount(header_frames=places[-1] + 1, packets=len(images)),
    )
    rate = FrameRate(fps_cap, step_seconds=1 / image_fps)
    for path, place in zip(images, places, strict=True):
        video.account.came_out += 1
        data = path.read_bytes()
        image_HWC = _decoded(data)
        if image_HWC is None:
            video.account.corrupt += 1
            continue
        time = place / image_fps
        video.source_times.append(time)
        if not rate.keeps(time):
            continue
        if not video.jpegs:
            video.source_size = image_HWC.shape[0], image_HWC.shape[1]
            video.size = stored_size(*video.source_size, short_side=short_side)
        if image_HWC.shape[:2] == video.size and data.startswith(_JPEG):
            video.jpegs.append(data)
        else:
            height, width = video.size
            scaled = cv2.resize(image_HWC, (width, height), interpolation=cv2.INTER_AREA)
            video.jpegs.append(encode_jpeg(scaled.astype(np.uint8, copy=False), quality=quality))
        video.pts_seconds.append(time)
        video.source_frames.append(place)
    if not video.jpegs:
        raise BadVideo(
            f"0 of {len(images)} images can be read, the first is {images[0].name!r}; unpack "
            "them again",
            frames_got=0,
            frames_expected=len(images),
        )
    return video


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_EXTENSIONS


def _number(image: Path) -> int:
    """The number that a name ends in, -1 without one."""
    digits = re.search(r"(\d+)$", image.stem)
    return int(digits[1]) if digits else -1


def _places(images: Sequence[Path]) -> list[int]:
    """Places of the frames, from 0; as their names number them where these differ and rise."""
    numbers = [_number(image) for image in images]
    if len(images) > 1 and numbers[0] >= 0 and len(set(numbers)) == len(numbers):
        return [number - numbers[0] for number in numbers]
    return list(range(len(images)))


def _decoded(data: bytes) -> NDArray[np.uint8] | None:
    """RGB pixels, upright as the file's EXIF data says; None of what is no whole image."""
    # OpenCV fills what a cut JPEG file lacks with grey.
    if not data or (data.startswith(_JPEG) and data.rfind(_END) < data.rfind(_SCAN)):
        return None
    try:
        return decode_jpeg(data)  # OpenCV tells the formats apart by content
    except SchemaError:
        return None
