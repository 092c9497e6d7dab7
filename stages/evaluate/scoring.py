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

import numpy as np
from numpy.typing import NDArray

from storage_schemas.errors import ParameterError
from storage_schemas.metrics import Answers, MetricRow, Metrics

MEAN_CLASS = "mean class accuracy"
# What is told as a difference of top-1, and between which forms of the protocol.
DIFFERENCES = {"BG-gap": ("Mixed-Same", "Mixed-Rand"), "drop": ("Original", "No-FG")}
_SAMPLES, _SEED, _TAIL = 1000, 0, 0.025
_AT_ONCE = 1 << 22  # drawn videos in memory


def score(answers: Answers, metrics: Sequence[str], *, version: int) -> list[MetricRow]:
    """Rows of the metrics asked for, with their intervals.

    Parameters
    ----------
    answers : Answers
    metrics : sequence of str
        ``top-k`` and ``R@k`` (the share of videos with their class among the first k
        answers) or ``mean class accuracy``.
    version : int
        Of the stage that answered.
    """
    rows = []
    for metric in metrics:
        low, high = interval(metric, answers)
        rows.append(
            MetricRow(
                answers.protocol,
                answers.encoder,
                answers.split,
                metric,
                value_of(metric, answers),
                len(answers.video_ids),
                preset=answers.preset,
                version=version,
                low=low,
                high=high,
            )
        )
    return rows


def value_of(metric: str, answers: Answers) -> float:
    """The number, from the answers."""
    right_V = is_right(answers, _depth(metric))
    if metric != MEAN_CLASS:
        return float(right_V.mean())
    _, class_V = np.unique(answers.labels_V, return_inverse=True)
    return float((np.bincount(class_V, weights=right_V) / np.bincount(class_V)).mean())


def is_right(answers: Answers, depth: int) -> NDArray[np.bool_]:
    """Whether the class of each video is among its first `depth` answers."""
    return (answers.ranked_VK[:, :depth] == answers.labels_V[:, None]).any(1)


def interval(metric: str, answers: Answers) -> tuple[float, float]:
    """Bounds of 95 % of the values with videos drawn again, from a fixed seed."""
    right_V = is_right(answers, _depth(metric))
    _, class_V = np.unique(answers.labels_V, return_inverse=True)
    classes, count = int(class_V.max()) + 1, len(right_V)
    values = []
    for drawn_SV in _draws(count):
        if metric != MEAN_CLASS:
            values.append(right_V[drawn_SV].mean(1))
            continue
        # One histogram for all draws: each has its own range of classes.
        place = class_V[drawn_SV] + classes * np.arange(len(drawn_SV))[:, None]
        size = classes * len(drawn_SV)
        all_SC = np.bincount(place.ravel(), minlength=size).reshape(-1, classes)
        right = np.bincount(place.ravel(), weights=right_V[drawn_SV].ravel(), minlength=size)
        share_SC = right.reshape(-1, classes) / np.maximum(all_SC, 1)
        values.append(share_SC.sum(1) / (all_SC > 0).sum(1))
    low, high = np.quantile(np.concatenate(values), [_TAIL, 1 - _TAIL])
    return float(low), float(high)


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
    by_key = {answers.key: answers for answers in metrics.answers}
    found: list[tuple[MetricRow, float | None]] = []
    for row in metrics.rows:
        forms = [f"{row.protocol} {form}" for form in DIFFERENCES.get(row.metric, ())]
        keys = [
            "/".join((protocol, row.preset, row.encoder, row.split))
            for protocol in forms or [row.protocol]
        ]
        answers = [by_key[key] for key in keys if key in by_key]
        if row.encoder == "chance":
            found.append((row, 1 / len(metrics.classes)))
        elif len(answers) < len(keys):
            found.append((row, None))
        elif forms:
            first, second = (value_of("top-1", one) for one in answers)
            found.append((row, first - second))
        else:
            found.append((row, value_of(row.metric, answers[0])))
    return found


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
