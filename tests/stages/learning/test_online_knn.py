"""Nearest neighbours while training: worked numbers, the choice of videos, no trace left."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from stages.learning.online_knn import OnlineKnn, leave_one_out_accuracy


def angles(*degrees: float) -> torch.Tensor:
    radians = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([radians.cos(), radians.sin()], dim=1)


@pytest.mark.parametrize(
    ("degrees", "labels", "neighbours", "expected"),
    [
        ((0, 1, 90, 91), (0, 0, 1, 1), 1, 1.0),
        ((0, 90, 1, 91), (0, 0, 1, 1), 1, 0.0),  # each is nearest to one of the other class
        ((0, 1, 90, 91), (0, 0, 1, 0), 1, 0.5),
        # The near one of the own class outweighs two far ones of the other.
        ((0, 5, 60, 62), (0, 0, 1, 1), 3, 1.0),
    ],
)
def test_worked_numbers(
    degrees: tuple[float, ...], labels: tuple[int, ...], neighbours: int, expected: float
) -> None:
    scale = torch.tensor([1.0, 7.0, 0.1, 3.0])[:, None]  # lengths do not count
    found = leave_one_out_accuracy(
        scale * angles(*degrees), torch.tensor(labels), neighbours=neighbours
    )
    assert found == expected


def test_features_without_information_are_at_chance() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(800, 32, generator=generator)
    labels = torch.arange(800) % 4
    found = leave_one_out_accuracy(vectors, labels, neighbours=5)
    assert abs(float(found) - 0.25) < 0.05


def test_videos_come_evenly_from_all_classes() -> None:
    labels = {f"{label}{i}": label for label in "abc" for i in range(5)} | {"none": ""}
    chosen = OnlineKnn(videos=6, neighbours=2).choose(labels, [*labels, "unlabelled"])
    assert list(chosen) == ["a0", "b0", "c0", "a1", "b1", "c1"]
    few = OnlineKnn(videos=6, neighbours=2).choose(labels, ["a0", "a1", "b0", "c3", "none"])
    assert list(few) == ["a0", "b0", "c3", "a1"]
    assert OnlineKnn(neighbours=2).choose(labels, ["a0", "a1", "a2"]) == {}  # one class
    assert OnlineKnn(neighbours=5).choose(labels, ["a0", "b0"]) == {}  # too few voters


def test_due_every_so_many_epochs_and_at_the_end() -> None:
    assert [e for e in range(1, 11) if OnlineKnn(every=4).is_due(e, epochs=10)] == [4, 8, 10]
    assert not any(OnlineKnn(every=0).is_due(e, epochs=10) for e in range(1, 11))


def test_the_clip_is_the_middle_of_the_video(make_frames: Any) -> None:
    frames = make_frames(num_frames=20, size=(40, 60))
    clip = OnlineKnn(frame_stride=2).clip(frames, num_frames=4, size=40)
    assert np.array_equal(clip, frames.decode(np.array([6, 8, 10, 12]))[:, :, 10:50])
    short = make_frames(num_frames=3, size=(40, 60))
    looped = OnlineKnn().clip(short, num_frames=4, size=40)
    assert np.array_equal(looped, short.decode(np.array([0, 1, 2, 0]))[:, :, 10:50])
