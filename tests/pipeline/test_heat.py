"""Maps over frames: colours that everybody can order, values in their place and at their time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pipeline.heat import (
    clips_of,
    colour_bar,
    limits,
    map_film,
    map_frames,
    map_sheet,
    overlay,
    spread,
    viridis,
)
from storage_schemas.activation_maps import ActivationMap

# What matplotlib's viridis has at both ends and in the middle.
VIRIDIS = {0.0: (68, 1, 84), 0.5: (33, 145, 140), 1.0: (253, 231, 37)}
# Machado et al., IEEE TVCG 2009, severity 1: linear RGB as seen without one kind of cone.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    ),
}  # fmt: skip


def a_map(values: Any, *, frames: Any = range(8), view: Any = (0, 0, 64, 48)) -> ActivationMap:
    return ActivationMap(
        "cam",
        np.asarray(values, np.float32),
        np.asarray(frames, np.int32),
        np.asarray(view, np.float32),
    )


def test_colours_are_viridis() -> None:
    for value, colour in VIRIDIS.items():
        assert np.abs(viridis(np.array(value)).astype(int) - colour).max() <= 2


@pytest.mark.parametrize("sight", SIGHT)
def test_more_is_lighter_for_every_kind_of_sight(sight: str) -> None:
    from skimage.color import rgb2lab

    colours = viridis(np.linspace(0, 1, 33)) / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ SIGHT[sight].T, 0, 1)
    encoded = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    lightness = rgb2lab(encoded[None])[0, :, 0]
    assert np.diff(lightness).min() > 0.5, "32 steps from 15 to 90"
    assert lightness[-1] - lightness[0] > 65


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 5), (2, 4, 4), (3, 7, 2), (8, 6, 8)])
def test_cells_are_spread_as_torch_does(shape: tuple[int, int, int]) -> None:
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None, None], (8, 12, 16), mode="trilinear", align_corners=False
    )[0, 0]
    np.testing.assert_allclose(spread(values, 8, 12, 16), expected, atol=1e-5)


def test_limits_are_those_of_the_clip() -> None:
    values = np.zeros((2, 4, 4), np.float32)
    values[1, 2, 3], values[0, 0, 0] = 5, -2
    assert limits(values) == (-2, 5)
    fine = np.random.default_rng(0).random((4, 64, 64)).astype(np.float32)
    fine[0, 0, 0] = 1000
    low, high = limits(fine)
    assert low == fine.min()
    assert 0.99 < high < 1, "one bright point does not darken the rest"
    sparse = np.zeros((1, 64, 64), np.float32)
    sparse[0, 3, 3] = 7
    assert limits(sparse) == (0, 7), "what is all there is, is not cut"


def test_a_map_lies_where_the_network_looked() -> None:
    image = np.full((48, 64, 3), 200, np.uint8)
    image[..., 0] = 90
    heat = np.zeros((32, 40))
    heat[:16] = 1
    out = overlay(image, heat, np.array([8, 4, 48, 36], np.float32)).astype(int)
    top, bottom = out[5:19, 9:47], out[21:35, 9:47]
    assert np.ptp(top, axis=(0, 1)).max() == np.ptp(bottom, axis=(0, 1)).max() == 0
    assert np.abs(top[0, 0] - (0.6 * np.array((253, 231, 37)) + 0.4 * 167.1)).max() < 2
    assert np.abs(bottom[0, 0] - (0.6 * np.array((68, 1, 84)) + 0.4 * 167.1)).max() < 2
    for outside in (out[:4], out[36:], out[:, :8], out[:, 48:]):
        assert np.ptp(outside) == 0, "grey"
        assert outside[0, 0, 0] == pytest.approx(0.4 * 167.1, abs=1)


def test_each_frame_has_the_map_of_its_time(make_frames: Any) -> None:
    frames = make_frames(frames=np.full((16, 48, 64, 3), 128, np.uint8))
    early = a_map([[[1.0]], [[0.0]]], frames=range(0, 16, 2))
    images = [image[20, 30].astype(int) for image in map_frames(early, frames, range(8))]
    colours = viridis(np.array([1.0, 0.0]))
    for got, colour in ((images[0], colours[0]), (images[-1], colours[1])):
        assert np.abs(got - (0.6 * colour + 0.4 * 128)).max() < 3
    assert np.abs(images[0] - images[3]).max() > 10
    flat = map_frames(a_map([[[3.0]]]), frames, [0])[0]
    assert np.abs(flat[0, 0] - (0.6 * viridis(np.array(0.0)) + 0.4 * 128)).max() < 3


def test_legend_has_the_colours_from_bottom_to_top() -> None:
    bar = colour_bar(a_map([[[-0.5, 12.25]]]), 110)
    assert len(bar) == 110
    np.testing.assert_array_equal(bar[[0, -1], 0], viridis(np.array([1.0, 0.0])))
    assert (bar[:, 16:] < 100).any(axis=(1, 2))[:14].any(), "a number at the top"
    assert (bar[:, 16:] < 100).any(axis=(1, 2))[-14:].any(), "and one at the bottom"


def test_sheet_and_film(make_frames: Any) -> None:
    frames = make_frames(num_frames=20)
    box = np.array([10, 10, 30, 30], np.float32)
    maps = [
        a_map(np.eye(3)[None], frames=range(0, 16, 2)),
        a_map(np.ones((1, 48, 64)), frames=range(0, 16, 2)),
        ActivationMap(
            "attention", np.eye(4, dtype=np.float32)[None], np.arange(4, 8, dtype=np.int32),
            np.array([8, 0, 56, 48], np.float32), asked_frame=3, asked_xyxy=box,
        ),
    ]  # fmt: skip
    assert [len(clip) for clip in clips_of(maps)] == [2, 1]
    sheet = map_sheet(maps, frames)
    assert sheet.shape[0] == 3 * (110 + 20) + 2 * 4, "a clip and two maps, beside one with one"
    images, times = map_film(maps, frames)
    shown = list(images)
    assert len(shown) == len(times) == 8
    assert {image.shape for image in shown} == {shown[0].shape}
    np.testing.assert_allclose(np.diff(times), 2 / 25)
    assert (shown[0] != shown[3]).any()
    looped = a_map(np.eye(3)[None], frames=[3, 4, 0, 1])
    np.testing.assert_allclose(np.diff(map_film([looped], frames)[1]), 1 / 25)
