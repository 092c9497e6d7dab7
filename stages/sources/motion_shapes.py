"""Procedural labelled videos: textured objects that move over textured backgrounds.

The class *is* the motion. How strongly the background tells the class is a parameter, for
training and for test, so that a shortcut through the background can be measured. Boxes,
masks and speeds are exact.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar
from zlib import crc32

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from pipeline.pictures import caption, stack, strip
from pipeline.source import Digest, Listing, Source
from pipeline.stage import Context, GatherStage, Role, Stage
from storage_schemas.boxes import Boxes, encode_mask
from storage_schemas.dataset import SPEED_SCHEMA, Dataset
from storage_schemas.labels import LabelRow
from storage_schemas.tables import write_table
from storage_schemas.videos import VideoFile

CLASSES = (
    "MoveRight", "MoveLeft", "MoveDown", "MoveUp",
    "Grow", "Shrink", "TurnRight", "TurnLeft",
)  # fmt: skip

_VARIANTS = 4  # backgrounds that belong to a class
_PATTERN = 2**20  # apart from the numbers of backgrounds


class MotionShapes(GatherStage, name="motion_shapes", version=1):
    """Parameters of the generator; keys of its videos are known before it runs.

    ``num_backgrounds`` and ``num_patterns`` say how many textures all videos share, behind
    and on the objects; without, there are four backgrounds for each class, and each object
    has a pattern of its own. With few of both, looks tell no video from another: what is
    left is motion.
    """

    num_classes: int = Field(8, ge=2, le=len(CLASSES))
    train_per_class: int = Field(12, ge=1)
    test_per_class: int = Field(4, ge=1)
    num_frames: int = Field(32, ge=2)
    size: int = Field(80, ge=32, multiple_of=2)
    fps: int = Field(25, ge=1)
    num_objects: int = Field(1, ge=1, le=4)
    camera_speed: float = Field(0.0, ge=0, le=4)
    background_bias_train: float = Field(0.0, ge=0, le=1)
    background_bias_test: float = Field(0.0, ge=0, le=1)
    num_backgrounds: int | None = Field(None, ge=1)
    num_patterns: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0)

    def listing(self) -> list[LabelRow]:
        """Ids, classes and splits, from the parameters alone."""
        rows = []
        for label in CLASSES[: self.num_classes]:
            for i in range(self.train_per_class + self.test_per_class):
                split = "train" if i < self.train_per_class else "test"
                file = f"v_{label}_g{i // 4 + 1:02d}_c{i % 4 + 1:02d}.mp4"
                rows.append(LabelRow(video_id=f"{label}/{file}", label=label, split=split))
        return rows

    def run(self, *, ctx: Context) -> Dataset:
        """Render, encode and describe every video; finished ones survive a kill."""
        rows = self.listing()
        truth: dict[str, Boxes] = {}
        speeds: dict[str, pa.Table] = {}
        for i, row in enumerate(rows):
            scene = self.scene(row)
            truth[row.video_id], speeds[row.video_id] = _truth(row.video_id, scene)
            target = ctx.work / "UCF-101" / row.video_id
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary = target.with_suffix(".tmp")
                write_video(temporary, scene.frames_THWC, fps=self.fps)
                os.replace(temporary, target)
            ctx.progress((i + 1) / len(rows), f"video {i + 1} of {len(rows)}")
        _write_lists(ctx.work / "ucfTrainTestlist", rows)
        folder = ctx.work / "truth"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        Boxes.write_part(folder, {video_id: b.to_tables() for video_id, b in truth.items()})
        write_table(
            folder / "speeds.arrow",
            SPEED_SCHEMA,
            speeds.items(),
            video_ids=list(speeds),
            noun=f"{Dataset.name}.speeds",
            version=Dataset.version,
        )
        return Dataset(ctx.work)

    def scene(self, row: LabelRow) -> Scene:
        """The video of a row with its exact truth; seeded by (seed, video id)."""
        rng = np.random.default_rng([self.seed, crc32(row.video_id.encode())])
        label = CLASSES.index(row.label)
        bias = self.background_bias_train if row.split == "train" else self.background_bias_test
        tied = rng.random() < bias
        background = label if tied else int(rng.integers(self.num_classes))
        variant = int(rng.integers(_VARIANTS))
        if self.num_backgrounds is not None:
            # Those of a class are `num_classes` apart, so that classes are the last to share.
            variant, background = divmod(
                (background + self.num_classes * variant) % self.num_backgrounds, self.num_classes
            )
        return render(
            rng,
            motion=row.label,
            num_frames=self.num_frames,
            size=self.size,
            num_objects=self.num_objects,
            camera_speed=self.camera_speed,
            background=texture(
                np.random.default_rng([self.seed, background, variant]),
                side=self.size + 2 * _margin(self),
            ),
            patterns=self._patterns(),
        )

    def _patterns(self) -> list[NDArray[np.uint8]] | None:
        """Textures that the objects of all videos are drawn from."""
        if self.num_patterns is None:
            return None
        return [
            pattern_texture(np.random.default_rng([self.seed, _PATTERN, i]))
            for i in range(self.num_patterns)
        ]

    def preview(self, output: Any, **inputs: Any) -> NDArray[np.uint8]:
        """One row a class, frames over time."""
        lines = []
        first = {row.label: row for row in reversed(self.listing())}
        for label in CLASSES[: self.num_classes]:
            frames = self.scene(first[label]).frames_THWC
            chosen = np.linspace(0, len(frames) - 1, 6).astype(int)
            lines.append(caption(strip(list(frames[chosen]), height=72), label))
        return stack(lines)


class Generated(Source, name="generated", version=1):
    """The videos and labels of a generated data set."""

    roles: ClassVar[Mapping[str, Role]] = {
        "dataset": Role(noun=Dataset, many=False, optional=False)
    }

    def scan(self, *, digest: Digest, dataset: tuple[Stage, str] | None) -> Listing:
        """List what the generator will make; the key of the data set stands for the bytes."""
        assert dataset is not None
        stage, key = dataset
        assert isinstance(stage, MotionShapes)
        labels = stage.listing()
        videos = [
            VideoFile(video_id=row.video_id, digest=f"{key}/{row.video_id}", bytes=0)
            for row in labels
        ]
        return Listing(videos=videos, labels=labels)

    def locate(self, video: VideoFile, dataset: Path | None) -> Path:
        """Where the generator wrote it."""
        assert dataset is not None
        return Dataset(dataset).videos_root / video.video_id


@dataclass(frozen=True, repr=False)
class Scene:
    """A rendered video with its truth.

    Parameters
    ----------
    frames_THWC : ndarray, uint8 RGB
    masks_KTHW : ndarray, bool
        Visible pixels of each object; later objects cover earlier ones.
    centres_KT2 : ndarray, float64
        x and y in pixels of the frame.
    """

    frames_THWC: NDArray[np.uint8]
    masks_KTHW: NDArray[np.bool_]
    centres_KT2: NDArray[np.float64]


def render(
    rng: np.random.Generator,
    *,
    motion: str,
    num_frames: int,
    size: int,
    num_objects: int,
    camera_speed: float,
    background: NDArray[np.uint8],
    patterns: Sequence[NDArray[np.uint8]] | None = None,
) -> Scene:
    """Draw one video.

    Parameters
    ----------
    rng : numpy Generator
    motion : str
        One of `CLASSES`; all objects move alike, each at its own speed.
    num_frames, size : int
        T and the side of the square frame in pixels.
    num_objects : int
    camera_speed : float
        Pixels a frame of a pan in a random direction, turned round at the margin.
    background : ndarray of shape (size + 2m, size + 2m, 3), uint8
        Larger than the frame by the margin *m* that the camera may use.
    patterns : sequence of ndarray of shape (64, 64, 3), uint8, optional
        Textures that objects are drawn from; without, each object has its own.

    Returns
    -------
    Scene
    """
    margin = (background.shape[0] - size) // 2
    time = np.linspace(-0.5, 0.5, num_frames)  # of the clip, centred
    pan_T2 = _pan(rng, num_frames, camera_speed, margin)
    grid_y, grid_x = np.mgrid[0:size, 0:size] + 0.5
    frames_THWC = np.stack(
        [
            background[margin + dy : margin + dy + size, margin + dx : margin + dx + size]
            for dx, dy in pan_T2
        ]
    )
    masks_KTHW = np.zeros((num_objects, num_frames, size, size), np.bool_)
    centres_KT2 = np.zeros((num_objects, num_frames, 2))
    for k in range(num_objects):
        radius = size * rng.uniform(0.13, 0.2)
        travel = size * rng.uniform(0.35, 0.55)
        middle = size / 2 + rng.uniform(-0.12, 0.12, size=2) * size
        direction = _DIRECTIONS.get(motion, (0.0, 0.0))
        centre_T2 = middle + np.outer(time * travel, direction)
        scale_T = np.exp(time * _GROWTH.get(motion, 0.0))
        angle_T = rng.uniform(0, 2 * np.pi) + time * _TURN.get(motion, 0.0)
        lobes = int(rng.integers(3, 6))
        if patterns is None:
            pattern = pattern_texture(rng)
        else:
            pattern = patterns[int(rng.integers(len(patterns)))]
        u, v = _object_frame(grid_x, grid_y, centre_T2, angle_T, scale_T * radius)
        # A lobed outline turns visibly and has no straight edges that alias.
        outline = 0.8 + 0.2 * np.cos(lobes * np.arctan2(v, u))
        inside_THW = np.hypot(u, v) < outline
        colours = pattern[
            np.clip((v * 26 + 32).astype(int), 0, 63), np.clip((u * 26 + 32).astype(int), 0, 63)
        ]
        frames_THWC = np.where(inside_THW[..., None], colours, frames_THWC)
        masks_KTHW[:k] &= ~inside_THW
        masks_KTHW[k] = inside_THW
        centres_KT2[k] = centre_T2
    return Scene(frames_THWC.astype(np.uint8), masks_KTHW, centres_KT2)


_DIRECTIONS = {
    "MoveRight": (1.0, 0.0), "MoveLeft": (-1.0, 0.0), "MoveDown": (0.0, 1.0), "MoveUp": (0.0, -1.0),
}  # fmt: skip
_GROWTH = {"Grow": 1.2, "Shrink": -1.2}
_TURN = {"TurnRight": 1.5 * np.pi, "TurnLeft": -1.5 * np.pi}


def _object_frame(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    centre_T2: NDArray[np.float64],
    angle_T: NDArray[np.float64],
    scale_T: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixel coordinates (T, H, W) in the object's own turning, growing frame."""
    dx = (x[None] - centre_T2[:, 0, None, None]) / scale_T[:, None, None]
    dy = (y[None] - centre_T2[:, 1, None, None]) / scale_T[:, None, None]
    cos, sin = np.cos(angle_T)[:, None, None], np.sin(angle_T)[:, None, None]
    return cos * dx + sin * dy, -sin * dx + cos * dy


def _margin(stage: MotionShapes) -> int:
    return int(np.ceil(stage.camera_speed * 10)) if stage.camera_speed else 0


def _pan(rng: np.random.Generator, num_frames: int, speed: float, margin: int) -> NDArray[np.int64]:
    """Camera offset of each frame, whole pixels within the margin."""
    angle = rng.uniform(0, 2 * np.pi)
    way_T = speed * (np.arange(num_frames) - num_frames / 2)
    if margin:
        period = 4 * margin
        way_T = np.abs((way_T + margin) % period - 2 * margin) - margin  # to and fro
    return np.stack([way_T * np.cos(angle), way_T * np.sin(angle)], axis=1).round().astype(int)


def texture(rng: np.random.Generator, *, side: int, contrast: float = 0.6) -> NDArray[np.uint8]:
    """Coloured noise of several octaves, (side, side, 3) uint8, with its own mean colour.

    The fine octaves are grey: colour of that detail would not survive 4:2:0 video, and
    without detail a patch pasted onto its own background could not be seen.
    """
    import cv2

    mean = rng.uniform(60, 195, size=3)
    out = np.zeros((side, side, 3))
    for octave, weight, channels in ((3, 0.5, 3), (8, 0.3, 3), (20, 0.4, 1), (48, 0.4, 1)):
        coarse = rng.standard_normal((octave, octave, channels)).astype(np.float32)
        fine = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
        out += weight * fine.reshape(side, side, channels)
    return np.clip(mean + contrast * 90 * out, 0, 255).astype(np.uint8)


def pattern_texture(rng: np.random.Generator) -> NDArray[np.uint8]:
    """What an object is covered with, (64, 64, 3) uint8."""
    return texture(rng, side=64, contrast=1.0)


def write_video(path: Path, frames_THWC: NDArray[np.uint8], *, fps: int) -> None:
    """Encode H.264 in mp4; one thread, so that the bytes are the same each time."""
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.height, stream.width = frames_THWC.shape[1:3]
        stream.pix_fmt = "yuv420p"
        # x264's macroblock tree is not reproducible with SIMD: 12 of 5141 encodes differed.
        stream.options = {
            "crf": "18", "preset": "veryfast", "threads": "1", "x264-params": "mbtree=0",
        }  # fmt: skip
        for frame in frames_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _truth(video_id: str, scene: Scene) -> tuple[Boxes, pa.Table]:
    objects, num_frames, height, width = scene.masks_KTHW.shape
    frames, tracks, xyxy, runs = [], [], [], []
    for t in range(num_frames):
        for k in range(objects):
            ys, xs = np.nonzero(scene.masks_KTHW[k, t])
            if len(ys):
                frames.append(t)
                tracks.append(k)
                xyxy.append((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
                runs.append(encode_mask(scene.masks_KTHW[k, t]))
    boxes = Boxes(
        video_id=video_id,
        num_frames=num_frames,
        height=height,
        width=width,
        frame=np.asarray(frames, np.int32),
        xyxy=np.asarray(xyxy, np.float32).reshape(-1, 4),
        track=np.asarray(tracks, np.int32),
        mask_runs=runs,
    )
    velocity_KT2 = np.gradient(scene.centres_KT2, axis=1)
    speeds = pa.table(
        {
            "video_id": [video_id] * (objects * num_frames),
            "frame": np.tile(np.arange(num_frames, dtype=np.int32), objects),
            "track": np.repeat(np.arange(objects, dtype=np.int32), num_frames),
            "vx_pixels_per_frame": velocity_KT2[..., 0].ravel().astype(np.float32),
            "vy_pixels_per_frame": velocity_KT2[..., 1].ravel().astype(np.float32),
        },
        schema=SPEED_SCHEMA,
    )
    return boxes, speeds


def _write_lists(folder: Path, rows: list[LabelRow]) -> None:
    folder.mkdir(exist_ok=True)
    classes = sorted({row.label for row in rows})
    numbers = {label: i + 1 for i, label in enumerate(classes)}
    (folder / "classInd.txt").write_text("".join(f"{n} {c}\n" for c, n in numbers.items()))
    lines = {"train": "", "test": ""}
    for row in rows:
        number = f" {numbers[row.label]}" if row.split == "train" else ""
        lines[row.split] += f"{row.video_id}{number}\n"
    for kind, text in lines.items():
        (folder / f"{kind}list01.txt").write_text(text)
