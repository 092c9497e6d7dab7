"""Geometry of a clip: sampled once, then applied to all frames alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Of a crop's width and height, and of mirroring, wherever a method does not differ.
CROP_ASPECT = (3 / 4, 4 / 3)
FLIP_PROBABILITY = 0.5


@dataclass(frozen=True)
class CropAndFlip:
    """Resize to ``height`` x ``width``, cut a square, maybe mirror it.

    ``left`` and ``top`` are pixels of the resized frame.
    """

    height: int
    width: int
    left: int
    top: int
    size: int
    flip: bool = False

    @classmethod
    def sample(
        cls,
        rng: np.random.Generator,
        *,
        resized_to: tuple[int, int],
        size: int,
        flip_probability: float,
    ) -> CropAndFlip:
        """Draw a crop position uniformly and a flip; `resized_to` is (height, width)."""
        height, width = resized_to
        return cls(
            height=height,
            width=width,
            left=int(rng.integers(0, width - size + 1)),
            top=int(rng.integers(0, height - size + 1)),
            size=size,
            flip=bool(rng.random() < flip_probability),
        )

    @classmethod
    def centred(cls, *, height: int, width: int, size: int) -> CropAndFlip:
        """The largest square in the middle, as a test looks at a frame."""
        return cls.along(resized(height, width, size), size=size, count=1)[0]

    @classmethod
    def along(cls, resized_to: tuple[int, int], *, size: int, count: int) -> list[CropAndFlip]:
        """Squares evenly along the long side, from end to end; a single one is in the middle."""
        shares = [i / (count - 1) for i in range(count)] if count > 1 else [0.5]
        height, width = resized_to
        across = width >= height
        room_x, room_y = width - size, height - size
        return [
            cls(
                height=height,
                width=width,
                left=int(room_x * (share if across else 0.5)),
                top=int(room_y * (0.5 if across else share)),
                size=size,
            )
            for share in shares
        ]

    def box(self, height: int, width: int) -> NDArray[np.float32]:
        """What is cut, ``xyxy`` in pixels of frames of this size."""
        scale = np.array([width / self.width, height / self.height] * 2)
        ends = self.left, self.top, self.left + self.size, self.top + self.size
        return (np.array(ends) * scale).astype(np.float32)

    def apply(self, clip_THWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Cropped clip of shape (T, size, size, 3), bilinear."""
        import cv2  # not above: a plan reads methods and must stay light

        same = clip_THWC.shape[1:3] == (self.height, self.width)
        out_THWC = np.empty((len(clip_THWC), self.size, self.size, 3), np.uint8)
        for t, frame in enumerate(clip_THWC):
            if not same:
                shape = (self.width, self.height)
                frame = cv2.resize(frame, shape, interpolation=cv2.INTER_LINEAR)
            out_THWC[t] = frame[self.top : self.top + self.size, self.left : self.left + self.size]
        return out_THWC[:, :, ::-1] if self.flip else out_THWC


def resized(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Height and width after scaling the short side, aspect kept."""
    scale = short_side / min(height, width)
    return max(short_side, round(height * scale)), max(short_side, round(width * scale))


@dataclass(frozen=True)
class ResizedCrop:
    """Cut a rectangle out of every frame, resize it to a square, maybe mirror it.

    ``top``, ``left``, ``height`` and ``width`` are pixels of the stored frame.
    """

    top: int
    left: int
    height: int
    width: int
    size: int
    flip: bool

    @classmethod
    def sample(
        cls,
        rng: np.random.Generator,
        *,
        height: int,
        width: int,
        size: int,
        area: tuple[float, float],
        aspect: tuple[float, float] = CROP_ASPECT,
        tries: int = 10,
        flip_probability: float = FLIP_PROBABILITY,
        log_aspect: bool = True,
    ) -> ResizedCrop:
        """Draw area, aspect (uniform, or its logarithm is), place and flip.

        Where no draw fits in `tries`, the largest centred rectangle with an aspect in
        bounds is taken, as torchvision does.
        """
        box = (0, 0, height, width)
        for _ in range(tries):
            share = rng.uniform(*area) * height * width
            ratio = np.exp(rng.uniform(*np.log(aspect))) if log_aspect else rng.uniform(*aspect)
            w, h = round(np.sqrt(share * ratio)), round(np.sqrt(share / ratio))
            if 0 < w <= width and 0 < h <= height:
                top = int(rng.integers(0, height - h + 1))
                box = (top, int(rng.integers(0, width - w + 1)), h, w)
                break
        else:
            ratio = float(np.clip(width / height, *aspect))
            w, h = min(width, round(height * ratio)), min(height, round(width / ratio))
            box = ((height - h) // 2, (width - w) // 2, h, w)
        return cls(*box, size=size, flip=bool(rng.random() < flip_probability))

    def apply(self, clip_THWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Clip of shape (T, size, size, 3), bilinear."""
        import cv2

        out_THWC = np.empty((len(clip_THWC), self.size, self.size, 3), np.uint8)
        for t, frame in enumerate(clip_THWC):
            cut = frame[self.top : self.top + self.height, self.left : self.left + self.width]
            cv2.resize(cut, (self.size, self.size), dst=out_THWC[t], interpolation=cv2.INTER_LINEAR)
        return out_THWC[:, :, ::-1] if self.flip else out_THWC

    def apply_boxes(self, xyxy_N4: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes of the stored frame in pixels of the view, clipped to it; some may vanish."""
        shift = np.array([self.left, self.top] * 2, np.float32)
        scale = np.array([self.size / self.width, self.size / self.height] * 2, np.float32)
        moved_N4 = np.clip((xyxy_N4 - shift) * scale, 0, self.size)
        if self.flip:
            moved_N4 = moved_N4 * [-1, 1, -1, 1] + [self.size, 0, self.size, 0]
            moved_N4 = moved_N4[:, [2, 1, 0, 3]]
        return moved_N4.astype(np.float32)

    def apply_mask(self, mask_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Mask of the stored frame in the view, shape (size, size)."""
        import cv2

        cut = mask_HW[self.top : self.top + self.height, self.left : self.left + self.width]
        soft = cv2.resize(
            cut.astype(np.float32), (self.size, self.size), interpolation=cv2.INTER_LINEAR
        )
        mask = soft >= 0.5
        return np.asarray(mask[:, ::-1] if self.flip else mask)
