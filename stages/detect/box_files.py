"""Readers of boxes that were computed elsewhere: COCO JSON, AVA CSV, our own Arrow table."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
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
    try:
        table, bare = _ava_rows(path, kind)
        _check_ava(table)
    except (pa.ArrowInvalid, ValueError) as error:
        raise ValueError(
            f"{path} is neither COCO JSON, nor Arrow, nor CSV of AVA with rows video_id, "
            f"seconds, x1, y1, x2, y2, ... : {error}"
        ) from error
    names = pc.unique(table.column("label")).to_pylist()
    return BoxFile(_AvaVideos(table, bare), sorted(names), timed=True)


_AVA_ROWS = {
    ("detections", 7): ("score",),
    ("detections", 8): ("label", "score"),
    ("annotations", 7): ("label",),
    ("annotations", 8): ("label", "person"),
}


def _ava_rows(path: Path, kind: CsvRows) -> tuple[pa.Table, dict[str, list[float]]]:
    """Rows with a box, and by video the times of rows of two fields, which name no box."""
    with path.open(newline="", encoding="utf-8") as file:
        fields = next((len(row) for row in csv.reader(file) if len(row) not in (0, 2)), 7)
    if fields not in (7, 8):
        raise ValueError(f"a row has {fields} fields, not 2, 7 or 8")
    short: list[str] = []

    def of_another_length(row: Any) -> str:
        if row.actual_columns != 2:
            return "error"
        short.append(row.text)
        return "skip"

    types = {"video_id": pa.string(), "seconds": pa.float64()}
    types |= dict.fromkeys(("x1", "y1", "x2", "y2"), pa.float32())
    more = {"label": pa.string(), "score": pa.float32(), "person": pa.string()}
    types |= {name: more[name] for name in _AVA_ROWS[kind, fields]}
    table = pa_csv.read_csv(
        path,
        read_options=pa_csv.ReadOptions(column_names=list(types), use_threads=False),
        parse_options=pa_csv.ParseOptions(invalid_row_handler=of_another_length),
        convert_options=pa_csv.ConvertOptions(column_types=types),
    )
    bare: dict[str, list[float]] = {}
    for text in short:
        video_id, _, seconds = text.partition(",")
        bare.setdefault(video_id, []).append(float(seconds))
    if "score" not in types:
        table = table.append_column("score", pa.array(np.ones(len(table), np.float32)))
    labels = table.column("label") if "label" in types else pa.array([""] * len(table), pa.string())
    named = pc.if_else(pc.equal(labels, ""), "person", labels)
    return table.select(["video_id", "seconds", *_CORNERS, "score"]).append_column(
        "label", named
    ), bare


def _check_ava(table: pa.Table) -> None:
    """Raise `ValueError` at the first row whose box or score is none."""
    xyxy, scores = _corners(table), table.column("score").to_numpy()
    outside = ~((xyxy >= -0.5) & (xyxy <= 1.5)).all(axis=1)  # NaN counts as outside
    wrong = ~((scores >= 0) & (scores <= 1))
    for bad, problem in (
        (outside, "the box {box} is not in fractions of the frame, 0 to 1"),
        (
            wrong,
            "the last field {score:g} is no score between 0 and 1; if these are annotations with "
            "action and person ids, set csv_rows=annotations",
        ),
    ):
        if bad.any():
            row = int(np.argmax(bad))
            video_id, seconds = (table.column(n)[row].as_py() for n in ("video_id", "seconds"))
            found = problem.format(box=xyxy[row].tolist(), score=float(scores[row]))
            raise ValueError(f"{video_id!r} at {seconds:g} s: {found}")


class _AvaVideos(Mapping[str, Mapping[float, Placed]]):
    """Videos of a CSV; a million rows stay columns until a video is asked for."""

    def __init__(self, table: pa.Table, bare: Mapping[str, Sequence[float]]) -> None:
        order = [("video_id", "ascending"), ("seconds", "ascending")]
        self._table = table.sort_by(order).combine_chunks()
        self._bare = bare
        ids = self._table.column("video_id").combine_chunks().dictionary_encode()
        bounds = np.searchsorted(ids.indices.to_numpy(), np.arange(len(ids.dictionary) + 1))
        self._rows = dict(zip(ids.dictionary.to_pylist(), pairwise(bounds), strict=True))

    def __getitem__(self, video_id: str) -> Mapping[float, Placed]:
        times = self._bare.get(video_id, ())
        if video_id not in self._rows and not times:
            raise KeyError(video_id)
        first, last = self._rows.get(video_id, (0, 0))
        rows = self._table.slice(first, last - first)
        placed = _placed(rows, rows.column("seconds").to_numpy(), size=(1.0, 1.0))
        nothing = Placed(Detections.join([]), (1.0, 1.0))
        return dict.fromkeys(times, nothing) | placed

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._rows, *self._bare]))

    def __len__(self) -> int:
        return len(self._rows.keys() | self._bare.keys())


_CORNERS = ("x1", "y1", "x2", "y2")


def _corners(rows: pa.Table) -> NDArray[np.float32]:
    return np.stack([rows.column(name).to_numpy() for name in _CORNERS], axis=1)


def _placed(
    rows: pa.Table, key_N: NDArray[Any], *, size: tuple[float, float] | None
) -> dict[float, Placed]:
    """Boxes of rows by their frame or time, by which the rows are sorted."""
    xyxy = _corners(rows)
    scores = rows.column("score").fill_null(1.0).to_numpy()
    labels = _labels(rows)
    starts = np.flatnonzero(np.diff(key_N.astype(np.float64), prepend=np.nan))
    return {
        key_N[first].item(): Placed(
            Detections(xyxy[first:last], scores[first:last], labels[first:last]), size
        )
        for first, last in pairwise([*starts, len(key_N)])
    }


def _read_arrow(path: Path) -> BoxFile:
    table = TableFile(path, BOX_SCHEMA, noun=f"{Boxes.name}.boxes", version=Boxes.version)
    names: set[str] = set()
    for batch in table.values():
        names |= set(_labels(pa.Table.from_batches([batch])))
    return BoxFile(_ArrowVideos(table), sorted(names), inside=True)


class _ArrowVideos(Mapping[str, Mapping[float, Placed]]):
    """Videos of an Arrow file, read when asked for."""

    def __init__(self, table: TableFile) -> None:
        self._table = table

    def __getitem__(self, video_id: str) -> Mapping[float, Placed]:
        rows = pa.Table.from_batches([self._table[video_id]])
        return _placed(rows, rows.column("frame").to_numpy(), size=None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)


def _labels(rows: pa.Table) -> list[str]:
    """Class names of a table of boxes; tubes and proposals have none."""
    return rows.column("label").fill_null("object").to_pylist()


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
