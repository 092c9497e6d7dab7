"""FAME's mask on the worked numbers of its description, and by its invariances."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CLIPS

from stages.learning.foreground import Foreground
from stages.learning.foreground_mask import (
    colour_bins,
    foreground_masks,
    frame_difference,
    hue_saturation_value,
    merge,
    moving_likelihood,
)


def blob() -> torch.Tensor:
    """A bright blob that moves 5 pixels a frame over a smooth field: (1, 3, 3, 40, 40)."""
    i, j = np.mgrid[:40, :40].astype(float)
    clip = np.empty((1, 3, 3, 40, 40), np.float32)
    for c in range(3):
        base = 0.5 + 0.35 * np.sin(0.11 * i * (c + 1) + 0.07 * j) * np.cos(
            0.05 * j * (c + 1) - 0.02 * i
        )
        for t in range(3):
            e = np.exp(-((i - 14) ** 2 + (j - 10 - 5 * t) ** 2) / 40)
            clip[0, c, t] = base * (1 - e) + e * (0.2 + 0.3 * c)
    return torch.from_numpy(clip)


def noise(count: int, frames: int = 4, size: int = 32, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).random((count, 3, frames, size, size), dtype=np.float32)
    return torch.from_numpy(values)


def textured(count: int, size: int = 64) -> torch.Tensor:
    """Clips of smooth colours that drift at different speeds, without ties."""
    y, x = np.mgrid[:size, :size] / size
    clips = np.empty((count, 3, 5, size, size), np.float32)
    for b in range(count):
        phase = np.random.default_rng(b).random((2, 3)) * 6
        for t in range(5):
            move = 0.06 * t * np.exp(-8 * ((x - 0.3 - 0.1 * b) ** 2 + (y - 0.5) ** 2))
            for c in range(3):
                clips[b, c, t] = 0.5 + 0.4 * np.sin(9 * (x - move) + phase[0, c]) * np.cos(
                    7 * y + phase[1, c]
                )
    return torch.from_numpy(clips)


def real(name: str, size: int = 112) -> torch.Tensor:
    """The first 16 frames of a committed clip, resized: (1, 3, 16, S, S)."""
    import av
    import cv2

    with av.open(str(CLIPS / name)) as container:
        shown = itertools.islice(container.decode(video=0), 16)
        frames = [frame.to_ndarray(format="rgb24") for frame in shown]
    clip = np.stack([cv2.resize(f, (size, size)) for f in frames])
    return torch.from_numpy(clip).permute(3, 0, 1, 2)[None].float() / 255


def test_motion_of_the_worked_clip() -> None:
    motion = frame_difference(blob())[0]
    assert motion[14, 20] == pytest.approx(0.284661, abs=1e-6)
    assert motion[0, 0] == pytest.approx(0.000183, abs=1e-6)
    assert motion.sum() == pytest.approx(91.862, abs=1e-3)


def test_colour_of_the_worked_clip() -> None:
    found = hue_saturation_value(blob().mean(2))[0, :, 14, 20]
    np.testing.assert_allclose(found, [3.689869, 0.482094, 0.700026], atol=2e-6)


@pytest.mark.parametrize(
    ("hue", "area", "sums", "rows"),
    [
        ("reference", 0.3, (480, 5626, 8618), (9, 7, 9, 13, 19, 26, 26, 30)),
        ("intended", 0.5, (800, 10158, 12005), (30, 26, 27, 30, 31, 30, 30, 30)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mask_of_the_worked_clip(
    hue: Any, area: float, sums: tuple[int, ...], rows: tuple[int, ...], dtype: torch.dtype
) -> None:
    mask = foreground_masks(blob().to(dtype), Foreground(hue=hue, area=area))[0]
    y, x = mask.nonzero(as_tuple=True)
    assert (len(y), y.sum(), x.sum()) == sums
    assert tuple(mask.sum(1)[:8].tolist()) == rows


@pytest.mark.parametrize(
    ("rgb", "reference", "intended"),
    [
        ((1, 0, 0), 959, 959),
        ((1, 1, 1), 955, 955),
        ((0.5, 0.5, 0.5), 555, 555),
        ((0, 0, 0), 55, 55),
        ((0, 1, 0), 978, 982),
        ((0, 0, 1), 996, 912),
        ((0.8, 0.6, 0.2), 713, 777),
    ],
)
def test_bins(rgb: Any, reference: int, intended: int) -> None:
    image = torch.tensor(rgb, dtype=torch.float32).view(1, 3, 1, 1)
    assert colour_bins(image, Foreground(hue="reference")).item() == reference
    assert colour_bins(image, Foreground(hue="intended")).item() == intended


def test_worked_likelihood() -> None:
    """40 of the 50 moving pixels have colour A, the rest and all still ones have B."""
    bins = torch.ones(1, 100, dtype=torch.long)
    bins[0, :40] = 0
    motion = torch.arange(100, 0, -1.0)[None]  # the first 50 are seeds, the last 10 as well
    found = moving_likelihood(bins, motion, Foreground())[0]
    np.testing.assert_allclose(found[[0, 39]], 0.998764, atol=1e-6)
    np.testing.assert_allclose(found[[40, 99]], 0.948357, atol=1e-6)


@pytest.mark.parametrize(("area", "pixels"), [(0.5, 6272), (0.3, 3763), (0.2, 2508), (0, 0)])
@pytest.mark.parametrize("by", ["colour", "motion", "centre"])
def test_area_is_exact_whatever_moves(area: float, pixels: int, by: Any) -> None:
    still = noise(1, frames=1, size=112).expand(1, 3, 4, 112, 112)
    grey = torch.full((1, 3, 4, 112, 112), 0.5)
    clips = torch.cat([still, grey, noise(1, size=112)])
    masks = foreground_masks(clips, Foreground(area=area, by=by))
    assert masks.dtype == torch.bool
    assert masks.sum((1, 2)).tolist() == [pixels] * 3


def test_square_that_moves_is_found() -> None:
    """24 pixels wide, 8 frames of 4 pixels; recall of all that it passes over."""
    y, x = np.mgrid[:112, :112] / 112
    clip = np.empty((1, 3, 8, 112, 112), np.float32)
    swept = torch.zeros(112, 112, dtype=torch.bool)
    for t in range(8):
        for c in range(3):
            clip[0, c, t] = 0.4 + 0.2 * np.sin(3 * x + c) * np.cos(2 * y)
        left = 30 + 4 * t
        clip[0, :, t, 40:64, left : left + 24] = np.array([0.9, 0.2, 0.1])[:, None, None]
        swept[40:64, left : left + 24] = True
    for area, least in ((0.2, 0.67), (0.3, 0.88), (0.5, 0.99)):
        mask = foreground_masks(torch.from_numpy(clip), Foreground(area=area))[0]
        assert (mask & swept).sum() >= least * swept.sum()


@pytest.mark.parametrize("hue", ["reference", "intended"])
def test_real_motion_is_found(hue: Any) -> None:
    """A walking person before a still camera: what changes over time lies in the mask."""
    clip = real("walker_a.mp4")
    mask = foreground_masks(clip, Foreground(area=0.3, hue=hue))[0]
    spread = clip.std(2).sum(1)[0]
    assert spread[mask].mean() > 2 * spread[~mask].mean()


def test_clips_do_not_see_each_other() -> None:
    clips = textured(3)
    masks = foreground_masks(clips, Foreground())
    order = torch.tensor([2, 0, 1])
    assert torch.equal(foreground_masks(clips[order], Foreground()), masks[order])
    assert torch.equal(foreground_masks(clips[1:2], Foreground()), masks[1:2])


def test_time_may_run_backwards_and_space_be_mirrored() -> None:
    for clips in (textured(3), real("cockatoo_a.mp4")):
        masks = foreground_masks(clips, Foreground())
        backwards = foreground_masks(clips.flip(2), Foreground())
        assert (backwards == masks).float().mean() > 0.99
        mirrored = foreground_masks(clips.flip(4), Foreground()).flip(2)
        assert (mirrored == masks).float().mean() > 0.97


def test_hue_matters_and_seeds_do_not_depend_on_the_area() -> None:
    clips = textured(3)
    reference, intended = (
        foreground_masks(clips, Foreground(hue=hue)) for hue in ("reference", "intended")
    )
    assert not torch.equal(reference, intended)
    small = foreground_masks(clips, Foreground(area=0.3))
    assert (reference | small).sum() == reference.sum()  # the smaller mask lies in the larger


def test_other_ways_to_rank() -> None:
    clips = textured(2)
    motion = foreground_masks(clips, Foreground(by="motion", area=0.2, blur=0))
    for difference, mask in zip(frame_difference(clips), motion, strict=True):
        assert difference[mask].min() >= difference[~mask].max()
    centre = foreground_masks(clips, Foreground(by="centre", area=0.2))
    assert torch.equal(centre[0], centre[1])
    assert centre[0, 31, 31]
    assert not centre[0, 0].any()


def test_merging_takes_each_pixel_from_one_of_two_clips() -> None:
    clips = noise(4)
    masks = foreground_masks(clips, Foreground())
    background = [1, 0, 3, 3]
    found = merge(clips, masks, background)
    where = masks[:, None, None].expand_as(clips)
    assert torch.equal(found[where], clips[where])
    assert torch.equal(found[~where], clips[background][~where])
    assert torch.equal(found[3], clips[3])  # its own background
    everything, nothing = torch.ones_like(masks), torch.zeros_like(masks)
    assert torch.equal(merge(clips, everything, background), clips)
    assert torch.equal(merge(clips, nothing, background), clips[background])


def test_no_gradient() -> None:
    clips = noise(2).requires_grad_()
    assert not foreground_masks(clips, Foreground()).requires_grad
