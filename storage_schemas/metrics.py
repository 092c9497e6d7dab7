"""Results of evaluation: numbers, and the answers that they were computed from.

``metrics.arrow`` has one row a number. ``predictions.arrow`` has one row a video of each
`Answers`, in the order of ``classes.json``, which names what their integers mean.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
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
        ``pretrained`` or ``random``, which stand side by side, or ``chance``.
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
        return "/".join((self.protocol, self.preset, self.encoder, self.split))

    def to_table(self) -> pa.Table:
        """Rows of ``predictions.arrow``."""
        count, width = self.ranked_VK.shape
        ends = pa.array(np.arange(count + 1, dtype=np.int32) * width)
        same = {name: getattr(self, name) for name in ("protocol", "preset", "encoder", "split")}
        columns: dict[str, Any] = {name: pa.repeat(value, count) for name, value in same.items()}
        columns |= {
            "video_id": pa.array(list(self.video_ids), pa.string()),
            "label": pa.array(self.labels_V, pa.int32()),
            "ranked": pa.ListArray.from_arrays(ends, pa.array(self.ranked_VK.ravel(), pa.int32())),
            "scores": pa.ListArray.from_arrays(
                ends, pa.array(self.scores_VK.ravel(), pa.float32())
            ),
        }
        return pa.table(columns, schema=PREDICTION_SCHEMA)

    @classmethod
    def from_batch(cls, batch: pa.RecordBatch) -> Self:
        """Inverse of `to_table`; arrays are views of the mapped file."""
        shape = (len(batch), -1) if len(batch) else (0, 0)
        return cls(
            **{
                name: batch.column(name)[0].as_py() if len(batch) else ""
                for name in ("protocol", "preset", "encoder", "split")
            },
            video_ids=batch.column("video_id").to_pylist(),
            labels_V=batch.column("label").to_numpy(),
            ranked_VK=batch.column("ranked").flatten().to_numpy().reshape(shape),
            scores_VK=batch.column("scores").flatten().to_numpy().reshape(shape),
        )


@dataclass(frozen=True)
class Metrics(FolderNoun):
    """Rows of one evaluation, in the order they are reported, and what they come from.

    Parameters
    ----------
    rows : sequence of MetricRow
    answers : sequence of Answers
    classes : sequence of str
        Names by class index.
    """

    name: ClassVar[str] = "metrics"
    version: ClassVar[int] = 2  # 2: intervals, presets, answers

    rows: Sequence[MetricRow]
    answers: Sequence[Answers] = ()
    classes: Sequence[str] = ()

    def write(self, folder: Path) -> None:
        """Write ``metrics.arrow``, ``predictions.arrow`` and ``classes.json``."""
        table = pa.Table.from_pylist([vars(row) for row in self.rows], schema=METRIC_SCHEMA)
        write_table(
            folder / "metrics.arrow",
            METRIC_SCHEMA,
            [("*", table)],
            video_ids=["*"],
            noun=self.name,
            version=self.version,
        )
        write_table(
            folder / "predictions.arrow",
            PREDICTION_SCHEMA,
            ((answers.key, answers.to_table()) for answers in self.answers),
            video_ids=[answers.key for answers in self.answers],
            noun=f"{self.name}.predictions",
            version=self.version,
        )
        (folder / "classes.json").write_text(json.dumps(list(self.classes), ensure_ascii=False))

    @classmethod
    def open(cls, folder: Path) -> Self:
        rows = TableFile(
            folder / "metrics.arrow", METRIC_SCHEMA, noun=cls.name, version=cls.version
        )
        answers = TableFile(
            folder / "predictions.arrow",
            PREDICTION_SCHEMA,
            noun=f"{cls.name}.predictions",
            version=cls.version,
        )
        return cls(
            [MetricRow(**row) for row in rows["*"].to_pylist()],
            [Answers.from_batch(answers[key]) for key in answers],
            json.loads((folder / "classes.json").read_text()),
        )
