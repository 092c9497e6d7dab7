"""Numbers from answers: the one place where they are computed, and computed again.

Every number is a mean over videos (or over classes) of what is true of a video, so its
interval comes from drawing the videos again with replacement.

References
----------
Efron, *Bootstrap methods: another look at the jackknife*, 1979 (percentile interval).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage_schemas.errors import ParameterError
from storage_schemas.metrics import Answers, Measurements, MetricRow, Metrics

Found = Answers | Measurements

MEAN_CLASS = "mean class accuracy"
LAST = ", last frame"
# What is told as a difference of top-1, and between which forms of the protocol.
DIFFERENCES = {"BG-gap": ("Mixed-Same", "Mixed-Rand"), "drop": ("Original", "No-FG")}
_SAMPLES, _SEED, _TAIL = 1000, 0, 0.025
_AT_ONCE = 1 << 22  # drawn videos in memory


def score(found: Found, metrics: Sequence[str], *, version: int) -> list[MetricRow]:
    """Rows of the metrics asked for, with their intervals.

    Parameters
    ----------
    found : Answers or Measurements
    metrics : sequence of str
        Of answers ``top-k`` and ``R@k`` (the share of videos with their class among the first
        k answers) or ``mean class accuracy``. Of measurements any name: the mean over frames,
        or, if it ends in `LAST`, the value in the last frame.
    version : int
        Of the stage that answered.
    """
    rows = []
    for metric in metrics:
        low, high = interval(metric, found)
        rows.append(
            MetricRow(
                found.protocol,
                found.encoder,
                found.split,
                metric,
                value_of(metric, found),
                len(found.video_ids),
                preset=found.preset,
                version=version,
                low=low,
                high=high,
            )
        )
    return rows


def value_of(metric: str, found: Found) -> float:
    """The number, from the answers or measurements."""
    value_V = _each(metric, found)
    if isinstance(found, Measurements) or metric != MEAN_CLASS:
        return float(value_V.mean())
    _, class_V = np.unique(found.labels_V, return_inverse=True)
    return float((np.bincount(class_V, weights=value_V) / np.bincount(class_V)).mean())


def _each(metric: str, found: Found) -> NDArray[Any]:
    """The number of each video by itself."""
    if isinstance(found, Measurements):
        values_VT = found.values_VT.astype(np.float64)
        return values_VT[:, -1] if metric.endswith(LAST) else values_VT.mean(1)
    return is_right(found, _depth(metric))


def is_right(answers: Answers, depth: int) -> NDArray[np.bool_]:
    """Whether the class of each video is among its first `depth` answers."""
    return (answers.ranked_VK[:, :depth] == answers.labels_V[:, None]).any(1)


def interval(metric: str, found: Found) -> tuple[float, float]:
    """Bounds of 95 % of the values with videos drawn again, from a fixed seed."""
    value_V = _each(metric, found)
    draws = _draws(len(value_V))
    if isinstance(found, Answers) and metric == MEAN_CLASS:
        _, class_V = np.unique(found.labels_V, return_inverse=True)
        values = [_class_means(value_V, class_V, drawn_SV) for drawn_SV in draws]
    else:
        values = [value_V[drawn_SV].mean(1) for drawn_SV in draws]
    low, high = np.quantile(np.concatenate(values), [_TAIL, 1 - _TAIL])
    return float(low), float(high)


def _class_means(
    value_V: NDArray[Any], class_V: NDArray[np.int64], drawn_SV: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean over the classes of each draw, (S,); one histogram for all of them."""
    classes = int(class_V.max()) + 1
    place = class_V[drawn_SV] + classes * np.arange(len(drawn_SV))[:, None]
    size = classes * len(drawn_SV)
    all_SC = np.bincount(place.ravel(), minlength=size).reshape(-1, classes)
    sum_SC = np.bincount(place.ravel(), weights=value_V[drawn_SV].ravel(), minlength=size)
    share_SC = sum_SC.reshape(-1, classes) / np.maximum(all_SC, 1)
    return share_SC.sum(1) / (all_SC > 0).sum(1)


def difference(
    metric: str, protocol: str, answers: Mapping[str, Answers], *, version: int
) -> MetricRow:
    """Top-1 of one form of a protocol minus that of another.

    Parameters
    ----------
    metric : str
        One of `DIFFERENCES`.
    protocol : str
    answers : mapping of form -> Answers
        A video is drawn again in all forms that it has answers of, so that what they share
        does not widen the interval.
    version : int
        Of the stage that answered.
    """
    first, second = (answers[form] for form in DIFFERENCES[metric])
    videos = sorted({*first.video_ids, *second.video_ids})
    place = {video_id: i for i, video_id in enumerate(videos)}
    there_FV, right_FV = np.zeros((2, 2, len(videos)), np.bool_)
    for i, one in enumerate((first, second)):
        places = [place[video_id] for video_id in one.video_ids]
        there_FV[i, places], right_FV[i, places] = True, is_right(one, 1)
    gaps = []
    for drawn_SV in _draws(len(videos)):
        count_FS = np.maximum(there_FV[:, drawn_SV].sum(2), 1)
        gaps.append(np.subtract(*(right_FV[:, drawn_SV].sum(2) / count_FS)))
    low, high = np.quantile(np.concatenate(gaps), [_TAIL, 1 - _TAIL])
    return MetricRow(
        protocol,
        first.encoder,
        first.split,
        metric,
        value_of("top-1", first) - value_of("top-1", second),
        len(first.video_ids),
        preset=first.preset,
        version=version,
        low=float(low),
        high=float(high),
    )


def _draws(count: int) -> Iterator[NDArray[np.int64]]:
    """Indices of videos, (draws, count), a few draws at a time."""
    rng = np.random.default_rng(_SEED)
    step = max(1, min(_SAMPLES, _AT_ONCE // count))
    for start in range(0, _SAMPLES, step):
        yield rng.integers(0, count, (min(step, _SAMPLES - start), count))


def _depth(metric: str) -> int:
    if metric == MEAN_CLASS:
        return 1
    found = re.fullmatch(r"(?:top-|R@)(\d+)", metric)
    if found is None:
        raise ParameterError(f"{metric!r} is no metric of answers: top-k, R@k or {MEAN_CLASS!r}")
    return int(found[1])


def recompute(metrics: Metrics) -> list[tuple[MetricRow, float | None]]:
    """Each row with its value as the answers give it; None for what has no answers."""
    by_key: dict[str, Found] = {one.key: one for one in metrics.answers}
    by_key |= {one.key: one for one in metrics.measurements}
    again: list[tuple[MetricRow, float | None]] = []
    for row in metrics.rows:
        forms = [f"{row.protocol} {form}" for form in DIFFERENCES.get(row.metric, ())]
        keys = [
            "/".join((protocol, row.preset, row.encoder, row.split))
            for protocol in forms or [row.protocol]
        ]
        found = [by_key[key] for key in keys if key in by_key]
        if row.encoder == "chance":
            again.append((row, 1 / len(metrics.classes)))
        elif len(found) < len(keys):
            again.append((row, None))
        elif forms:
            first, second = (value_of("top-1", one) for one in found)
            again.append((row, first - second))
        else:
            again.append((row, value_of(row.metric, found[0])))
    return again


def ranked(scores_VC: NDArray[np.floating]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Classes from the highest score to the lowest, and the scores in that order."""
    order = np.argsort(-scores_VC, axis=1, kind="stable").astype(np.int32)
    return order, np.take_along_axis(scores_VC, order, axis=1).astype(np.float32)


def accuracies(classes: int) -> list[str]:
    """The metrics of a classifier; top-5 says nothing of five classes or fewer."""
    return ["top-1", *(["top-5"] if classes > 5 else []), MEAN_CLASS]


def chance(answers: Answers, classes: int, *, version: int) -> MetricRow:
    """What guessing gives, beside the encoders."""
    return MetricRow(
        answers.protocol,
        "chance",
        answers.split,
        "top-1",
        1 / classes,
        len(answers.video_ids),
        preset=answers.preset,
        version=version,
    )
