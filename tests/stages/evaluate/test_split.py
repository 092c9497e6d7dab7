"""Features and labels joined by video id; what cannot be evaluated says why."""

from __future__ import annotations

import numpy as np
import pytest

from stages.evaluate.split import rows_to_test, split_rows
from storage_schemas.errors import StageFailed
from storage_schemas.features import Features
from storage_schemas.labels import LabelRow, Labels


def features(*video_ids: str) -> Features:
    return Features(video_ids, {"pretrained": {"gap": np.zeros((len(video_ids), 2), np.float32)}})


def labels(*rows: tuple[str, str, str]) -> Labels:
    return Labels([LabelRow(*row) for row in rows])


def test_join_is_by_id_not_by_order() -> None:
    splits = split_rows(
        features("z", "y", "unlabelled", "x"),
        labels(
            ("x", "run", "test"), ("y", "jump", "train"), ("z", "run", "train"),
            ("missing", "run", "train"), ("w", "sit", "val"),
        ),
    )  # fmt: skip
    assert splits.classes == ["jump", "run", "sit"]
    assert dict(zip(splits.train_rows, splits.train_labels, strict=True)) == {1: 0, 0: 1}
    assert dict(zip(splits.test_rows, splits.test_labels, strict=True)) == {3: 1}


@pytest.mark.parametrize("empty", ["train", "test"])
def test_an_empty_split_names_counts_and_where_to_look(empty: str) -> None:
    other = "test" if empty == "train" else "train"
    with pytest.raises(
        StageFailed,
        match=rf"no {empty} video .*\(3 labels, 2 videos with features\).*quarantine list",
    ):
        split_rows(
            features("a", "b"), labels(("a", "x", other), ("b", "y", other), ("c", "x", empty))
        )


def test_a_single_class_cannot_be_evaluated() -> None:
    with pytest.raises(StageFailed, match=r"single class.* two or more"):
        split_rows(
            features("a", "b", "c"),
            labels(("a", "x", "train"), ("b", "x", "train"), ("c", "y", "test")),
        )


def test_validation_stands_in_where_the_classes_of_the_test_are_not_published() -> None:
    rows = (("a", "x", "train"), ("b", "y", "train"), ("c", "x", "val"), ("d", "", "test"))
    splits = split_rows(features("a", "b", "c", "d"), labels(*rows))
    assert (splits.tested, splits.test_rows.tolist(), splits.classes) == ("val", [2], ["x", "y"])
    published = split_rows(features("a", "b", "c", "d"), labels(*rows[:3], ("d", "y", "test")))
    assert (published.tested, published.test_rows.tolist()) == ("test", [3])


def test_val_stands_for_a_test_whose_classes_are_not_published() -> None:
    rows = [
        LabelRow("a", "x", "train"), LabelRow("b", "y", "train"), LabelRow("c", "y", "val"),
        LabelRow("d", "", "test"),
    ]  # fmt: skip
    splits = split_rows(features(*"abcd"), Labels(rows))
    assert (splits.tested, splits.test_rows.tolist(), splits.classes) == ("val", [2], ["x", "y"])
    split, found = rows_to_test(Labels(rows), dict.fromkeys("abcd"))
    assert (split, [row.video_id for row in found]) == ("val", ["c"])
    with pytest.raises(StageFailed, match="none of 4 labelled videos is a test video with frames"):
        rows_to_test(Labels(rows), {})
