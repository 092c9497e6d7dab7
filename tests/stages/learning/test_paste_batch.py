"""Pasting on a device gives the bytes of pasting on the CPU."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch

from stages.learning.paste import alpha_mask, describe, paste_patches
from stages.learning.paste_batch import _masks, _taps, paste_batch
from stages.synthesize.synthesize import Synthesize
from stages.synthesize.trajectories import sample_bank
from storage_schemas.trajectories import SHAPES, Trajectories

DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    ),
]


def make_bank(**changes: Any) -> Trajectories:
    return sample_bank(np.random.default_rng(1), Synthesize(**changes).law(), 8)


def described(
    bank: Trajectories, device: str = "cpu", gains: Any = None
) -> dict[str, torch.Tensor]:
    rows = [
        {
            "boxes": one.boxes_KT4.astype(np.float32),
            **describe(one, gain_K=None if gains is None else gains[i]),
        }
        for i, one in enumerate(bank)
    ]
    return {k: torch.from_numpy(np.stack([r[k] for r in rows])).to(device) for k in rows[0]}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_patches": 1},
        {"num_patches": 5, "num_frames": 8, "size": 64},
        {"size": 32, "size_velocity": 0.2, "visible_probability": 0.0},
    ],
    ids=["reference", "one-patch", "crowded", "tiny"],
)
def test_same_bytes(changes: dict[str, Any], device: str) -> None:
    bank = make_bank(**changes)
    rng = np.random.default_rng(2)
    shape = (len(bank), bank.num_frames, bank.size, bank.size, 3)
    clips = rng.integers(0, 256, shape, dtype=np.uint8)
    expected = np.stack([paste_patches(clip, one) for clip, one in zip(clips, bank, strict=True)])
    given = torch.from_numpy(clips.copy()).to(device)
    found = paste_batch(given, described(bank, device))
    np.testing.assert_array_equal(found.cpu().numpy(), expected)
    np.testing.assert_array_equal(given.cpu().numpy(), clips)  # the input is as it was
    assert (expected != clips).mean() > 0.01


@pytest.mark.parametrize("device", DEVICES)
def test_same_bytes_with_gains(device: str) -> None:
    bank = make_bank(num_frames=8, size=64)
    rng = np.random.default_rng(2)
    clips = rng.integers(0, 256, (len(bank), 8, 64, 64, 3), dtype=np.uint8)
    gains = np.exp(rng.uniform(-1, 1, (len(bank), 3)))
    expected = np.stack(
        [paste_patches(clip, bank[i], gain_K=gains[i]) for i, clip in enumerate(clips)]
    )
    found = paste_batch(torch.from_numpy(clips).to(device), described(bank, device, gains))
    np.testing.assert_array_equal(found.cpu().numpy(), expected)


@pytest.mark.parametrize("device", DEVICES)
def test_weights_of_every_resizing_are_opencvs(device: str) -> None:
    sides = torch.arange(1, 113, device=device)
    for cut in range(1, 113, 3):
        ramp = np.random.default_rng(cut).integers(0, 256, cut, dtype=np.uint8)
        before, after, share = (
            one.cpu().numpy() for one in _taps(sides, torch.full_like(sides, cut), 112)
        )
        low, high = (ramp[at].astype(int) for at in (before, after))
        mixed = (low * 256 + (high - low) * share + 128) >> 8
        for side in range(1, 113):
            resized = cv2.resize(ramp[None], (side, 1), interpolation=cv2.INTER_LINEAR_EXACT)
            np.testing.assert_array_equal(mixed[side - 1, :side], resized[0])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", range(len(SHAPES)))
@pytest.mark.parametrize("soft", [False, True])
def test_masks_are_the_same(shape: int, soft: bool, device: str) -> None:
    rng = np.random.default_rng(3)
    corners = rng.integers(0, 40, (200, 2))
    sides = rng.integers(1, 73, (200, 2))
    edges = rng.uniform(0.3, 0.45, 200).astype(np.float32) * soft
    found = _masks(
        torch.from_numpy(np.hstack([corners, corners + sides])).to(device),
        torch.full((200,), shape, device=device),
        torch.from_numpy(edges).to(device),
        112,
    ).cpu()
    for mask, (x, y), (w, h), edge in zip(found, corners, sides, edges, strict=True):
        expected = alpha_mask(SHAPES[shape], edge, height=h, width=w)
        np.testing.assert_array_equal(mask[y : y + h, x : x + w], expected)
