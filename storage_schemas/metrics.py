"""Results of evaluation: numbers, and the answers that they were computed from.

``metrics.arrow`` has one row a number. ``predictions.arrow`` has one row a video of each
`Answers`, in the order of ``classes.json``, which names what their integers mean;
``measurements.arrow``, where there are any, one of each `Measurements`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage_schemas.errors import SchemaError
from storage_schemas.noun import FolderNoun
from storage_schemas.tables import TableFile, write_table

METRIC_SCHEMA = pa.schema(
    [
        pa.field("protocol", pa.string(), nullable=False),
        pa.field("encoder", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("n", pa.int32(), nullable=False),
        pa.field("preset", pa.string(), nullable=False),
        pa.field("version", pa.int32(), nullable=False),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field("unit", pa.string(), nullable=False),
    ]
)
PREDICTION_SCHEMA = pa.schema(
    [
        pa.field("protocol", pa.string(), nullable=False),
        pa.field("preset", pa.string(), nullable=False),
        pa.field("encoder", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),
        pa.field("ranked", pa.list_(pa.int32()), nullable=False),
        pa.field("scores", pa.list_(pa.float32()), nullable=False),
    ]
)
MEASUREMENT_SCHEMA = pa.schema(
    [
        *(PREDICTION_SCHEMA.field(name) for name in ("protocol", "preset", "encoder", "split")),
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("values", pa.list_(pa.float32()), nullable=False),
    ]
)


@dataclass(frozen=True)
class MetricRow:
    """One number: `value` of `metric` over `n` videos of `split`.

    Parameters
    ----------
    protocol, preset : str
        The rules, and which form of them.
    version : int
        Of the rules: of the stage that applied them.
    encoder : str
        ``pretrained`` or ``random``, which stand side by side, or what needs none, such as
        ``chance``.
    split, metric : str
    value : float
    low, high : float or None
        95 % of the values that videos drawn again with replacement give lie between.
    n : int
    unit : {"share", "number"}
        Shares are shown as per cent.
    """

    protocol: str
    encoder: str
    split: str
    metric: str
    value: float
    n: int
    preset: str = ""
    version: int = 1
    low: float | None = None
    high: float | None = None
    unit: str = "share"


def side_by_side(encoders: Iterable[str]) -> list[str]:
    """Columns of a table: the usual encoders, then what else there is, such as a baseline."""
    return list(dict.fromkeys(["pretrained", "random", "chance", *encoders]))


@dataclass(frozen=True, repr=False)
class Answers:
    """What one protocol answered for each video, best first.

    Parameters
    ----------
    protocol, preset, encoder, split : str
    video_ids : sequence of str
    labels_V : ndarray of shape (V,), int32
        The true class.
    ranked_VK : ndarray of shape (V, K), int32
        Classes in the order they were answered: each class once from a classifier, the class
        of each neighbour from a retrieval.
    scores_VK : ndarray of shape (V, K), float32
        Probability, votes or similarity; never rises.
    """

    protocol: str
    preset: str
    encoder: str
    split: str
    video_ids: Sequence[str]
    labels_V: NDArray[np.int32]
    ranked_VK: NDArray[np.int32]
    scores_VK: NDArray[np.float32]

    def __post_init__(self) -> None:
        count = len(self.video_ids)
        if (
            self.labels_V.shape != (count,)
            or self.ranked_VK.shape != self.scores_VK.shape
            or len(self.ranked_VK) != count
            or self.ranked_VK.ndim != 2
        ):
            raise SchemaError(
                f"answers of {count} videos: labels {self.labels_V.shape}, classes "
                f"{self.ranked_VK.shape}, scores {self.scores_VK.shape}"
            )
        if len(set(self.video_ids)) != count:
            raise SchemaError(f"{count} answers, but only {len(set(self.video_ids))} videos")

    def __repr__(self) -> str:
        return f"Answers({self.key!r}, {len(self.video_ids)} videos)"

    @property
    def key(self) -> str:
        """What tells the answers of an artifact apart."""
        return _key(self)

    def to_table(self) -> pa.Table:
        """Rows of ``predictions.arrow``."""
        columns = _same(self) | {
            "label": pa.array(self.labels_V, pa.int32()),
            "ranked": _lists(self.ranked_VK, pa.int32()),
            "scores": _lists(self.scores_VK, pa.float32()),
        }
        return pa.table(columns, schema=PREDICTION_SCHEMA)

    @classmethod
    def from_batch(cls, batch: pa.RecordBatch) -> Self:
        """Inverse of `to_table`; arrays are views of the mapped file."""
        return cls(
            **_read_same(batch),
            labels_V=batch.column("label").to_numpy(),
            ranked_VK=_matrix(batch, "ranked"),
            scores_VK=_matrix(batch, "scores"),
        )


@dataclass(frozen=True, repr=False)
class Measurements:
    """What one protocol measured of each video.

    Parameters
    ----------
    protocol, preset, encoder, split : str
    video_ids : sequence of str
    values_VT : ndarray of shape (V, T), float32
        Such as the overlap of boxes in each frame of a clip.
    """

    protocol: str
    preset: str
    encoder: str
    split: str
    video_ids: Sequence[str]
    values_VT: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.values_VT.ndim != 2 or len(self.values_VT) != len(self.video_ids):
            raise SchemaError(
                f"measurements of {len(self.video_ids)} videos have shape {self.values_VT.shape}"
            )
        if not np.isfinite(self.values_VT).all():
            raise SchemaError(f"measurements {self.key!r} are not finite")

    def __repr__(self) -> str:
        return f"Measurements({self.key!r}, {len(self.video_ids)} videos)"

    @property
    def key(self) -> str:
        """What tells the measurements of an artifact apart."""
        return _key(self)

    def to_table(self) -> pa.Table:
        """Rows of ``measurements.arrow``."""
        columns = _same(self) | {"values": _lists(self.values_VT, pa.float32())}
        return pa.table(columns, schema=MEASUREMENT_SCHEMA)

    @classmethod
    def from_batch(cls, batch: pa.RecordBatch) -> Self:
        """Inverse of `to_table`; the array is a view of the mapped file."""
        return cls(**_read_same(batch), values_VT=_matrix(batch, "values"))


_SAME = ("protocol", "preset", "encoder", "split")


def _key(one: Answers | Measurements) -> str:
    return "/".join(getattr(one, name) for name in _SAME)


def _same(one: Answers | Measurements) -> dict[str, Any]:
    """Columns that both tables have."""
    columns = {name: pa.repeat(getattr(one, name), len(one.video_ids)) for name in _SAME}
    return columns | {"video_id": pa.array(list(one.video_ids), pa.string())}


def _read_same(batch: pa.RecordBatch) -> dict[str, Any]:
    names = {name: batch.column(name)[0].as_py() if len(batch) else "" for name in _SAME}
    return names | {"video_ids": batch.column("video_id").to_pylist()}


def _lists(values_VK: NDArray[Any], kind: pa.DataType) -> pa.ListArray:
    count, width = values_VK.shape
    ends = pa.array(np.arange(count + 1, dtype=np.int32) * width)
    return pa.ListArray.from_arrays(ends, pa.array(values_VK.ravel(), kind))


def _matrix(batch: pa.RecordBatch, name: str) -> NDArray[Any]:
    shape = (len(batch), -1) if len(batch) else (0, 0)
    return batch.column(name).flatten().to_numpy().reshape(shape)


@dataclass(frozen=True)
class Metrics(FolderNoun):
    """Rows of one evaluation, in the order they are reported, and what they come from.

    Parameters
    ----------
    rows : sequence of MetricRow
    answers : sequence of Answers
    classes : sequence of str
        Names by class index.
    measurements : sequence of Measurements
    """

    name: ClassVar[str] = "metrics"
    version: ClassVar[int] = 2  # 2: intervals, presets, answers

    rows: Sequence[MetricRow]
    answers: Sequence[Answers] = ()
    classes: Sequence[str] = ()
    measurements: Sequence[Measurements] = ()

    def write(self, folder: Path) -> None:
        """Write the tables, and ``classes.json``."""
        table = pa.Table.from_pylist([vars(row) for row in self.rows], schema=METRIC_SCHEMA)
        write_table(
            folder / "metrics.arrow",
            METRIC_SCHEMA,
            [("*", table)],
            video_ids=["*"],
            noun=self.name,
            version=self.version,
        )
        self._write(folder, "predictions", PREDICTION_SCHEMA, self.answers)
        if self.measurements:
            self._write(folder, "measurements", MEASUREMENT_SCHEMA, self.measurements)
        (folder / "classes.json").write_text(json.dumps(list(self.classes), ensure_ascii=False))

    @classmethod
    def open(cls, folder: Path) -> Self:
        rows = TableFile(
            folder / "metrics.arrow", METRIC_SCHEMA, noun=cls.name, version=cls.version
        )
        measured = (folder / "measurements.arrow").exists()
        return cls(
            [MetricRow(**row) for row in rows["*"].to_pylist()],
            list(map(Answers.from_batch, cls._read(folder, "predictions", PREDICTION_SCHEMA))),
            json.loads((folder / "classes.json").read_text()),
            list(
                map(Measurements.from_batch, cls._read(folder, "measurements", MEASUREMENT_SCHEMA))
            )
            if measured
            else (),
        )

    def _write(
        self,
        folder: Path,
        stem: str,
        schema: pa.Schema,
        found: Sequence[Answers] | Sequence[Measurements],
    ) -> None:
        write_table(
            folder / f"{stem}.arrow",
            schema,
            ((one.key, one.to_table()) for one in found),
            video_ids=[one.key for one in found],
            noun=f"{self.name}.{stem}",
            version=self.version,
        )

    @classmethod
    def _read(cls, folder: Path, stem: str, schema: pa.Schema) -> Iterable[pa.RecordBatch]:
        path = folder / f"{stem}.arrow"
        return TableFile(path, schema, noun=f"{cls.name}.{stem}", version=cls.version).values()
