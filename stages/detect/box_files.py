"""Readers of boxes that were computed elsewhere: COCO JSON, AVA CSV, our own Arrow table."""

from __future__ import annotations

import csv
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.detect.detector import Detections
from storage_schemas.boxes import BOX_SCHEMA, Boxes
from storage_schemas.tables import TableFile

CsvRows = Literal["detections", "annotations"]


@dataclass(frozen=True)
class Placed:
    """Boxes in an image of ``size`` (width, height); None is that of the stored frame."""

    detections: Detections
    size: tuple[float, float] | None = None

    def scaled(self, *, height: int, width: int) -> Detections:
        """The boxes in pixels of an image of that size."""
        if self.size is None or self.size == (width, height):
            return self.detections
        scale = np.array([width / self.size[0], height / self.size[1]] * 2, np.float32)
        found = self.detections
        return Detections(found.xyxy * scale, found.scores, found.labels)


@dataclass(frozen=True)
class BoxFile:
    """Boxes of many videos.

    Parameters
    ----------
    videos : mapping
        Video id -> stored frame, or seconds where ``timed`` -> boxes.
    names : list of str
        Classes that occur.
    timed : bool
    inside : bool
        No box leaves its frame: one that does is of frames of another size.
    """

    videos: Mapping[str, Mapping[float, Placed]]
    names: list[str]
    timed: bool = False
    inside: bool = False


def read_box_file(path: Path, *, csv_rows: CsvRows) -> BoxFile:
    """Boxes of a file; its kind is read off its content.

    Raises
    ------
    ValueError
        If the content is of none of the kinds, or wrong.
    SchemaError
        If an Arrow file is not a table of boxes.
    """
    with path.open("rb") as file:
        head = file.read(64).lstrip()
    if head.startswith(b"ARROW1"):
        return _read_arrow(path)
    if head[:1] in (b"{", b"["):
        return _read_coco(path)
    return _read_ava(path, csv_rows)


def _read_coco(path: Path) -> BoxFile:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = {row["id"]: str(row["name"]) for row in content["categories"]}
        rows: dict[Any, list[Any]] = defaultdict(list)
        for row in content["annotations"]:
            rows[row["image_id"]].append(row)
        videos: dict[str, dict[float, Placed]] = defaultdict(dict)
        for image in content["images"]:
            video_id, frame = _frame_of(image)
            if frame in videos[video_id]:
                raise ValueError(f"two images are frame {frame} of {video_id!r}")
            size = (image["width"], image["height"]) if "width" in image else None
            videos[video_id][frame] = Placed(_coco_boxes(rows.pop(image["id"], []), names), size)
        if rows:
            raise ValueError(f"image_id {next(iter(rows))!r} of an annotation is not in images")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is not COCO JSON with images, annotations and categories, and "
            f"images named <video_id>/<frame>.<ext>: {type(error).__name__} {error}"
        ) from error
    return BoxFile(dict(videos), list(names.values()))


def _frame_of(image: Mapping[str, Any]) -> tuple[str, int]:
    if "video_id" in image and "frame" in image:
        return str(image["video_id"]), int(image["frame"])
    video_id, _, file = str(image["file_name"]).rpartition("/")
    return video_id, int(file.partition(".")[0])


def _coco_boxes(rows: list[Any], names: Mapping[Any, str]) -> Detections:
    xywh = np.asarray([row["bbox"] for row in rows], np.float32).reshape(-1, 4)
    return Detections(
        xyxy=np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
        scores=np.asarray([row.get("score", 1.0) for row in rows], np.float32),
        labels=[names[row["category_id"]] for row in rows],
    )


def _read_ava(path: Path, kind: CsvRows) -> BoxFile:
    rows: dict[str, dict[float, list[tuple[list[float], float, str]]]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.reader(file), start=1):
                if row:
                    video_id, seconds, boxes = _ava_row(row, kind, number)
                    rows.setdefault(video_id, {}).setdefault(seconds, []).extend(boxes)
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise ValueError(
            f"{path} is neither COCO JSON, nor Arrow, nor CSV of AVA with rows video_id, "
            f"seconds, x1, y1, x2, y2, ... : {error}"
        ) from error
    videos = {
        video_id: {seconds: Placed(_joined(boxes), (1.0, 1.0)) for seconds, boxes in times.items()}
        for video_id, times in rows.items()
    }
    labels = (one.detections.labels for times in videos.values() for one in times.values())
    return BoxFile(videos, sorted({name for row in labels for name in row}), timed=True)


def _ava_row(
    row: Sequence[str], kind: CsvRows, number: int
) -> tuple[str, float, list[tuple[list[float], float, str]]]:
    """Video, seconds and the box of a row; a row of two fields names a time without boxes."""
    if len(row) not in (2, 7, 8):
        raise ValueError(f"line {number} has {len(row)} fields, not 2, 7 or 8")
    try:
        seconds, *xyxy = map(float, row[1:6])
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from error
    if len(row) == 2:
        return row[0], seconds, []
    if not all(-0.5 <= x <= 1.5 for x in xyxy):
        raise ValueError(f"line {number}: box {xyxy} is not in fractions of the frame, 0 to 1")
    if kind == "annotations":
        return row[0], seconds, [(xyxy, 1.0, row[6])]
    label = row[6] if len(row) == 8 and row[6] else "person"
    try:
        score = float(row[-1])
    except ValueError:
        score = math.nan
    if not 0 <= score <= 1:
        raise ValueError(
            f"line {number}: the last field {row[-1]!r} is no score between 0 and 1; if these "
            "are annotations with action and person ids, set csv_rows=annotations"
        )
    return row[0], seconds, [(xyxy, score, label)]


def _joined(boxes: Sequence[tuple[list[float], float, str]]) -> Detections:
    return Detections(
        xyxy=np.asarray([xyxy for xyxy, _, _ in boxes], np.float32).reshape(-1, 4),
        scores=np.asarray([score for _, score, _ in boxes], np.float32),
        labels=[label for _, _, label in boxes],
    )


def _read_arrow(path: Path) -> BoxFile:
    table = TableFile(path, BOX_SCHEMA, noun=f"{Boxes.name}.boxes", version=Boxes.version)
    names: set[str] = set()
    for batch in table.values():
        names |= set(_labels(batch))
    return BoxFile(_ArrowVideos(table), sorted(names), inside=True)


class _ArrowVideos(Mapping[str, Mapping[float, Placed]]):
    """Videos of an Arrow file, read when asked for."""

    def __init__(self, table: TableFile) -> None:
        self._table = table

    def __getitem__(self, video_id: str) -> Mapping[float, Placed]:
        batch = self._table[video_id]
        corners = [batch.column(name).to_numpy() for name in ("x1", "y1", "x2", "y2")]
        xyxy = np.stack(corners, axis=1).reshape(-1, 4)
        scores = batch.column("score").fill_null(1.0).to_numpy(zero_copy_only=False)
        labels = _labels(batch)
        frame_N = batch.column("frame").to_numpy()
        found: dict[float, Placed] = {}
        for frame in np.unique(frame_N):
            first, last = np.searchsorted(frame_N, [frame, frame + 1])
            found[int(frame)] = Placed(
                Detections(xyxy[first:last], scores[first:last], labels[first:last])
            )
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)


def _labels(batch: pa.RecordBatch) -> list[str]:
    """Class names of a table of boxes; tubes and proposals have none."""
    return batch.column("label").fill_null("object").to_pylist()


def at_stored_frames(
    timed: Mapping[float, Placed], pts_seconds: NDArray[np.float64], *, start_seconds: float
) -> dict[float, Placed]:
    """Boxes by stored frame instead of by time.

    A time is that of the frame nearest to it; of two times with one nearest frame the nearer
    counts. Times outside of the video, by more than half its longest frame, are left out.

    Parameters
    ----------
    timed : mapping
        Seconds -> boxes.
    pts_seconds : ndarray of shape (T,), float64
    start_seconds : float
        What the file's clock shows where the video's is 0.
    """
    reach = float(np.diff(pts_seconds).max(initial=0)) / 2 or 0.5
    best: dict[int, tuple[float, float]] = {}  # frame -> distance, time
    for seconds in sorted(timed):
        t = seconds - start_seconds
        after = int(np.searchsorted(pts_seconds, t))
        near: Iterable[int] = (i for i in (after - 1, after) if 0 <= i < len(pts_seconds))
        distance, frame = min((abs(float(pts_seconds[i]) - t), i) for i in near)
        if distance <= reach + 1e-6 and (frame not in best or distance < best[frame][0]):
            best[frame] = distance, seconds
    return {frame: timed[seconds] for frame, (_, seconds) in sorted(best.items())}
