"""Boxes in frames: tubes, proposals and detections share one table.

They differ in which columns are filled: a tube fills ``track``, ``score`` and the mask, a
proposal ``region``, a detection ``score`` and ``label``. Boxes are ``xyxy``, float32, in
absolute pixels of the *stored* frame, half-open. Masks are run lengths over the frame in
row-major order, starting with a run of zeros (possibly empty).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage_schemas.errors import SchemaError
from storage_schemas.noun import ItemNoun

BOX_SCHEMA = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("frame", pa.int32(), nullable=False),
        pa.field("x1", pa.float32(), nullable=False),
        pa.field("y1", pa.float32(), nullable=False),
        pa.field("x2", pa.float32(), nullable=False),
        pa.field("y2", pa.float32(), nullable=False),
        pa.field("score", pa.float32()),
        pa.field("track", pa.int32()),
        pa.field("region", pa.int32()),
        pa.field("label", pa.string()),
        pa.field("mask_runs", pa.list_(pa.int32())),
    ]
)
BOX_VIDEO_SCHEMA = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("num_frames", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
    ]
)


@dataclass(frozen=True, repr=False)
class Boxes(ItemNoun):
    """All boxes of one video, sorted by frame.

    Parameters
    ----------
    video_id : str
    num_frames, height, width : int
        Of the stored frames that the boxes refer to.
    frame : ndarray of shape (N,), int32
        Stored-frame index of each box, non-decreasing.
    xyxy : ndarray of shape (N, 4), float32
        Half-open, in pixels, with ``0 <= x1 < x2 <= width`` and the same for y.
    score : ndarray of shape (N,), float32, optional
    track : ndarray of shape (N,), int32, optional
        Identity of the object through time.
    region : ndarray of shape (N,), int32, optional
        Number of the segment the box encloses.
    label : sequence of str, optional
        Class name that a detector gave.
    mask_runs : sequence of ndarray of int32, optional
        See `encode_mask`.

    Raises
    ------
    SchemaError
        If a box leaves the frame or is empty, or columns differ in length.
    """

    name: ClassVar[str] = "boxes"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, pa.Schema]] = {"boxes": BOX_SCHEMA, "videos": BOX_VIDEO_SCHEMA}

    video_id: str
    num_frames: int
    height: int
    width: int
    frame: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    xyxy: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    score: NDArray[np.float32] | None = None
    track: NDArray[np.int32] | None = None
    region: NDArray[np.int32] | None = None
    label: Sequence[str] | None = None
    mask_runs: Sequence[NDArray[np.int32]] | None = None

    def __post_init__(self) -> None:
        count = len(self.frame)
        if self.xyxy.shape != (count, 4):
            raise SchemaError(
                f"boxes of shape {self.xyxy.shape} for {count} frame indices",
                video_id=self.video_id,
            )
        for column in (self.score, self.track, self.region, self.label, self.mask_runs):
            if column is not None and len(column) != count:
                raise SchemaError(
                    f"a column of {len(column)} values beside {count} boxes",
                    video_id=self.video_id,
                )
        if count == 0:
            return
        if (
            self.frame[0] < 0
            or self.frame[-1] >= self.num_frames
            or np.any(np.diff(self.frame) < 0)
        ):
            raise SchemaError(
                f"frame indices {self.frame.min()}..{self.frame.max()} must be sorted and "
                f"within 0..{self.num_frames - 1}",
                video_id=self.video_id,
            )
        x1, y1, x2, y2 = self.xyxy.T
        bad = ~((x1 >= 0) & (y1 >= 0) & (x1 < x2) & (y1 < y2))  # NaN counts as bad
        bad |= ~((x2 <= self.width) & (y2 <= self.height))
        if bad.any():
            first = int(np.argmax(bad))
            raise SchemaError(
                f"{int(bad.sum())} boxes are empty or leave the {self.width}x{self.height} frame, "
                f"the first is {self.xyxy[first].tolist()} in frame {int(self.frame[first])}; "
                "clip boxes before writing them",
                video_id=self.video_id,
            )

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        return f"Boxes({self.video_id!r}, N={len(self)}, T={self.num_frames})"

    def in_frame(self, frame: int) -> slice:
        """Slice of the rows that belong to a stored frame."""
        return slice(
            int(np.searchsorted(self.frame, frame, "left")),
            int(np.searchsorted(self.frame, frame, "right")),
        )

    def mask(self, row: int) -> NDArray[np.bool_]:
        """Mask of a row, shape (H, W), bool; raises `SchemaError` where none is stored."""
        if self.mask_runs is None:
            raise SchemaError("these boxes carry no masks", video_id=self.video_id)
        return decode_mask(self.mask_runs[row], self.height, self.width)

    def valid_frames(
        self, track: int, *, min_score: float = 0.5, min_pixels: int = 10
    ) -> NDArray[np.int32]:
        """Frames in which a tube can be relied on, shape (V,): PreViTS samples from these.

        Parameters
        ----------
        track : int
        min_score : float
            Least score of a row. A tracker scores each row by what that frame itself shows;
            a row that is merely carried on has 0.
        min_pixels : int
            Least area of the mask.
        """
        if self.track is None or self.score is None or self.mask_runs is None:
            raise SchemaError(
                "valid frames need boxes with track, score and masks", video_id=self.video_id
            )
        rows = np.flatnonzero((self.track == track) & (self.score >= min_score))
        large = [int(self.mask_runs[int(row)][1::2].sum()) >= min_pixels for row in rows]
        return self.frame[rows[np.asarray(large, np.bool_)]]

    def to_tables(self) -> dict[str, pa.Table]:
        count = len(self)
        corners = {
            name: pa.array(self.xyxy[:, i], pa.float32())
            for i, name in enumerate(("x1", "y1", "x2", "y2"))
        }
        boxes = pa.table(
            {
                "video_id": pa.array([self.video_id] * count, pa.string()),
                "frame": pa.array(self.frame, pa.int32()),
                **corners,
                "score": _optional(self.score, pa.float32(), count),
                "track": _optional(self.track, pa.int32(), count),
                "region": _optional(self.region, pa.int32(), count),
                "label": _optional(self.label, pa.string(), count),
                "mask_runs": _optional(self.mask_runs, pa.list_(pa.int32()), count),
            },
            schema=BOX_SCHEMA,
        )
        row = {
            "video_id": self.video_id,
            "num_frames": self.num_frames,
            "height": self.height,
            "width": self.width,
        }
        return {"boxes": boxes, "videos": pa.Table.from_pylist([row], schema=BOX_VIDEO_SCHEMA)}

    @classmethod
    def from_tables(cls, video_id: str, tables: Mapping[str, pa.RecordBatch]) -> Self:
        boxes = tables["boxes"]
        facts = tables["videos"].to_pylist()[0]
        corners = [boxes.column(c).to_numpy() for c in ("x1", "y1", "x2", "y2")]

        def numbers(name: str) -> Any:
            column = boxes.column(name)
            return None if column.null_count or not len(column) else column.to_numpy()

        labels, runs = boxes.column("label"), boxes.column("mask_runs")
        return cls(
            **facts,
            frame=boxes.column("frame").to_numpy(),
            xyxy=np.stack(corners, axis=1).reshape(-1, 4),
            score=numbers("score"),
            track=numbers("track"),
            region=numbers("region"),
            label=None if labels.null_count or not len(labels) else labels.to_pylist(),
            mask_runs=None
            if runs.null_count or not len(runs)
            else [row.values.to_numpy() for row in runs],
        )


def _optional(values: Any, kind: pa.DataType, count: int) -> pa.Array:
    return pa.nulls(count, kind) if values is None else pa.array(values, kind)


def encode_mask(mask_HW: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Run lengths of a (H, W) bool mask in row-major order, zeros first."""
    flat = np.concatenate([[False], mask_HW.ravel(), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    bounds = np.concatenate([[0], edges, [mask_HW.size]])
    return np.diff(bounds).astype(np.int32)


def decode_mask(runs: NDArray[np.int32], height: int, width: int) -> NDArray[np.bool_]:
    """Inverse of `encode_mask`: a (height, width) bool mask."""
    if int(runs.sum()) != height * width:
        raise SchemaError(f"mask runs cover {int(runs.sum())} of {height}x{width} pixels")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(height, width)
