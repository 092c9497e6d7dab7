"""Features and labels of one split, in line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage_schemas.errors import StageFailed
from storage_schemas.features import Features
from storage_schemas.labels import LabelRow, Labels
from storage_schemas.shards import Shard


@dataclass(frozen=True)
class Splits:
    """Row numbers of `Features` and class indices, for training and test videos.

    ``tested`` is the split that stands for the test: ``val`` where a data set publishes no
    classes of its test videos (Kinetics, Something-Something), as papers report it.
    """

    classes: list[str]
    train_rows: NDArray[np.int64]
    train_labels: NDArray[np.int64]
    test_rows: NDArray[np.int64]
    test_labels: NDArray[np.int64]
    tested: str = "test"


def split_rows(features: Features, labels: Labels) -> Splits:
    """Join by video id; a video without label or features takes no part.

    Raises
    ------
    StageFailed
        If a split is empty, or training videos have a single class.
    """
    row_of = {video_id: i for i, video_id in enumerate(features.video_ids)}
    classes = labels.classes
    found: dict[str, list[tuple[int, int]]] = {"train": [], "val": [], "test": []}
    for row in labels.rows:
        if row.label and row.video_id in row_of:
            found[row.split].append((row_of[row.video_id], classes.index(row.label)))
    tested = "test" if found["test"] or not found["val"] else "val"
    for name in ("train", tested):
        if not found[name]:
            raise StageFailed(
                f"no {name} video has both features and a label ({len(labels.rows)} labels, "
                f"{len(row_of)} videos with features); look at `tubelet quarantine list`"
            )
    train, test = (np.asarray(found[name]) for name in ("train", tested))
    if len(np.unique(train[:, 1])) < 2:
        raise StageFailed("the training videos have a single class; evaluation needs two or more")
    return Splits(classes, train[:, 0], train[:, 1], test[:, 0], test[:, 1], tested)


def rows_to_test(
    labels: Labels, shards: Mapping[str, Shard], *, classed: bool = True
) -> tuple[str, list[LabelRow]]:
    """The split that stands for the test, and its rows that have frames, and a class if `classed`.

    Raises
    ------
    StageFailed
        If there is none.
    """
    found: dict[str, list[LabelRow]] = {"test": [], "val": []}
    for row in labels.rows:
        if (row.label or not classed) and row.split in found and row.video_id in shards:
            found[row.split].append(row)
    tested = "test" if found["test"] or not found["val"] else "val"
    if not found[tested]:
        raise StageFailed(
            f"none of {len(labels.rows)} labelled videos is a test video with frames; look at "
            "`tubelet quarantine list`"
        )
    return tested, found[tested]
