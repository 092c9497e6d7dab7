"""Colour changes against plain Python, OpenCV and kornia, and by invariance."""

from __future__ import annotations

import colorsys
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage

from stages.learning.colour import ColourLaw
from stages.learning.photometric import (
    Draws,
    augment,
    brightness_,
    contrast_,
    ctp_colour,
    grey_,
    hue_,
    hue_saturation,
    saturation_,
    smooth_curve,
)
from storage_schemas.errors import ParameterError


def noise(*shape: int) -> torch.Tensor:
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return torch.from_numpy(values)


def test_no_change_is_the_identity() -> None:
    clip = noise(2, 3, 8, 8, 3).float()
    same = hue_saturation(clip, torch.zeros(2), torch.ones(2))
    difference = (same - clip).abs()
    # Hues beyond 179 of 180 are clamped, as the reference does: a rare red pixel moves.
    assert (difference > 1e-3).float().mean() < 0.01
    assert difference.max() < 5


def test_shift_agrees_with_opencv() -> None:
    clip = noise(1, 1, 32, 32, 3)
    hsv = cv2.cvtColor(clip[0, 0].numpy(), cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = np.clip(hsv[..., 0] + 10, 0, 179)
    hsv[..., 1] = np.clip(hsv[..., 1] * 0.9, 0, 255)
    expected = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32)
    ours = hue_saturation(clip.float(), torch.tensor([10.0]), torch.tensor([0.9]))[0, 0].numpy()
    assert np.abs(ours - expected).mean() < 2.5  # OpenCV rounds hue to 2 degrees


@pytest.mark.parametrize(
    ("colour", "shift", "expected"),
    [
        ((200, 100, 100), -10, (200, 100, 100)),  # hue 0 stays 0
        ((200, 100, 120), 12, (200, 100, 103.333)),  # 174 becomes 179, not 6
        ((200, 100, 120), 3, (200, 100, 110)),
    ],
)
def test_hues_are_clamped_where_the_circle_closes(colour: Any, shift: float, expected: Any) -> None:
    clip = torch.tensor(colour).float().view(1, 1, 1, 1, 3)
    found = hue_saturation(clip, torch.tensor([float(shift)]), torch.ones(1))
    np.testing.assert_allclose(found.flatten(), expected, atol=1e-2)


def test_smooth_curve_stays_in_its_bounds() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        curve = smooth_curve(rng, num_frames=16, bound=30)
        assert curve.shape == (16,)
        assert np.abs(curve).max() <= 30


def test_grey_stays_grey_and_the_generator_decides() -> None:
    grey = torch.full((4, 8, 6, 6, 3), 120, dtype=torch.uint8)
    out = ctp_colour(grey, np.random.default_rng(3))
    torch.testing.assert_close(out[..., 0], out[..., 1])
    torch.testing.assert_close(out, ctp_colour(grey, np.random.default_rng(3)), rtol=0, atol=0)
    assert not torch.equal(out, ctp_colour(grey, np.random.default_rng(4)))
    # One value per clip and frame: no pixel differs from its neighbours.
    assert (out.amax((2, 3)) - out.amin((2, 3))).max() == 0


def test_laws_of_ctps_chain() -> None:
    """ctp.md section 2, steps 5-7, read off three pixels: two greys and a green."""
    count = 1500
    pixels = np.array([[60, 60, 60], [160, 160, 160], [60, 160, 60]], np.uint8)
    clips = torch.from_numpy(np.tile(pixels, (count, 16, 1, 1, 1)))
    dark, light, green = (
        ctp_colour(clips, np.random.default_rng(0))[:, :, 0].double().unbind(2)  # N, T, 3
    )
    factor_NT = ((light - dark) / 100).mean(-1).numpy()
    added_NT = (dark.mean(-1).numpy() / factor_NT) - 60
    for curve_NT, bound in ((added_NT, 30), (np.log(factor_NT), 0.12)):
        changed = np.abs(curve_NT).max(1) > 1e-4 * bound
        assert changed.mean() == pytest.approx(0.5, abs=0.06)
        assert 0.98 * bound < np.abs(curve_NT).max() < 1.001 * bound
        ends = curve_NT[changed][:, [0, -1]]
        assert ends.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)  # uniform
        bent = np.abs(np.diff(curve_NT[changed], 2, axis=1)).max(1) > 1e-3 * bound
        assert bent.mean() == pytest.approx(0.3, abs=0.06)

    plain = green.numpy() / factor_NT[..., None] - added_NT[..., None]
    red, value, blue = np.moveaxis(plain, -1, 0)
    low = np.minimum(red, blue)
    hue_NT = 60 + 30 * (blue - red) / (value - low)
    saturation_NT = (value - low) / value / (100 / 160)
    for found_NT, bound in ((hue_NT - 60, 12), (np.log(saturation_NT), 0.1)):
        assert np.ptp(found_NT, axis=1).max() < 1e-3 * bound  # constant over time
        assert 0.98 * bound < np.abs(found_NT).max() < 1.001 * bound
        assert (np.abs(found_NT[:, 0]) > 1e-3 * bound).mean() == pytest.approx(0.25, abs=0.05)


LUMA = np.array([0.2989, 0.587, 0.114])
NOTHING = ColourLaw(jitter_probability=0, grey_probability=0, blur_probability=0)
ALWAYS = ColourLaw(jitter_probability=1, grey_probability=0, blur_probability=0)


def clips_of(count: int, frames: int = 3, size: int = 12, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).random((count, 3, frames, size, size), dtype=np.float32)
    return torch.from_numpy(values)


def expected(clip_CTHW: Any, law: ColourLaw, draws: Draws, i: int) -> Any:
    """One clip, pixel by pixel, in double precision and with other people's parts."""
    clip = clip_CTHW.astype(np.float64)

    def grey(x: Any) -> Any:
        return np.broadcast_to(np.tensordot(LUMA, x, 1), x.shape)

    def jitter(x: Any) -> Any:
        brightness, contrast, saturation, hue = draws.factors_N4[i]
        for operation in draws.order_N4[i]:
            if operation == 0:
                x = x * brightness
            elif operation == 1:
                pivot = {
                    "luma": lambda x: grey(x).mean(),
                    "frame_luma": lambda x: grey(x).mean((0, 2, 3), keepdims=True),
                    "channels": lambda x: x.mean((1, 2, 3), keepdims=True),
                }[law.contrast_around](x)
                x = pivot + contrast * (x - pivot)
            elif operation == 2:
                x = grey(x) + saturation * (x - grey(x))
            else:
                turned = [
                    colorsys.hsv_to_rgb((h + hue) % 1, s, v)
                    for h, s, v in (colorsys.rgb_to_hsv(*p) for p in x.reshape(3, -1).T)
                ]
                x = np.array(turned).T.reshape(x.shape)
            x = x.clip(0, 1)
        return x

    steps = [(draws.grey_N[i], grey), (draws.jittered_N[i], jitter)]
    for chosen, step in steps if law.grey_first else steps[::-1]:
        clip = step(clip) if chosen else clip
    if draws.blurred_N[i]:
        taps = law.blur_taps or 2 * (clip.shape[-1] // 10 // 2) + 1
        kernel = np.exp(-0.5 * ((np.arange(taps) - taps // 2) / draws.sigma_N[i]) ** 2)
        for axis in (2, 3):
            clip = ndimage.correlate1d(clip, kernel / kernel.sum(), axis, mode="mirror")
    return np.where(clip >= 0.5, 1 - clip, clip) if draws.solarised_N[i] else clip


@pytest.mark.parametrize("at_once", [1, 3, 12])
@pytest.mark.parametrize(
    "law",
    [
        ColourLaw(blur_taps=5, solarise_probability=0.5),
        ColourLaw(grey_first=False, grey_probability=0.5, brightness=0.8, hue=0.4, blur_taps=7),
        ColourLaw(contrast_around="channels", contrast=0.8, saturation=0.8, jitter_probability=1),
        ColourLaw(contrast_around="frame_luma", hue=0, blur_probability=1, blur_taps=3),
    ],
)
def test_chain_is_that_of_plain_python(law: ColourLaw, at_once: int) -> None:
    """However many clips are changed at once: one as on a CPU, all as on a GPU."""
    clips = clips_of(12)
    untouched = clips.clone()
    found = augment(clips, law, np.random.default_rng(5), at_once=at_once)
    assert torch.equal(clips, untouched)
    draws = Draws.sample(np.random.default_rng(5), law, 12)
    for i, clip in enumerate(clips.numpy()):
        np.testing.assert_allclose(found[i], expected(clip, law, draws, i), atol=2e-6)


def test_what_is_off_changes_no_bit() -> None:
    clips = clips_of(4)
    none = ALWAYS.model_copy(update=dict.fromkeys(("brightness", "contrast", "saturation"), 0.0))
    for law in (NOTHING, none.model_copy(update={"hue": 0.0})):
        assert torch.equal(augment(clips, law, np.random.default_rng(0)), clips)


def test_equal_frames_stay_equal_and_clips_differ() -> None:
    still = clips_of(1, frames=1).expand(6, -1, 4, -1, -1)
    out = augment(still, ColourLaw(), np.random.default_rng(1))
    assert torch.equal(out, out[:, :, :1].expand_as(out))
    assert len({clip.sum().item() for clip in out}) > 3


def test_draws_keep_their_laws() -> None:
    """Within five deviations of what the law says, and inside its bounds."""
    law = ColourLaw(brightness=1.5, hue=0.2, solarise_probability=0.1)
    count = 4000
    draws = Draws.sample(np.random.default_rng(0), law, count)
    for flags, probability in (
        (draws.jittered_N, 0.8),
        (draws.grey_N, 0.2),
        (draws.blurred_N, 0.5),
        (draws.solarised_N, 0.1),
    ):
        deviation = np.sqrt(probability * (1 - probability) / count)
        assert abs(flags.mean() - probability) < 5 * deviation
    for values, low, high in (
        (draws.factors_N4[:, 0], 0, 2.5),  # not below 0
        (draws.factors_N4[:, 1], 0.6, 1.4),
        (draws.factors_N4[:, 3], -0.2, 0.2),
        (draws.sigma_N, 0.1, 2.0),
    ):
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
    assert len(np.unique(draws.order_N4, axis=0)) == 24


@pytest.mark.parametrize(
    ("change", "factor", "before", "after"),
    [
        (brightness_, 1.5, (0.2, 0.4, 0.8), (0.3, 0.6, 1.0)),
        # luma: 0.2989 * 0.2 + 0.587 * 0.4 + 0.114 * 0.8 = 0.38578, also the pivot of contrast
        (grey_, None, (0.2, 0.4, 0.8), (0.38578, 0.38578, 0.38578)),
        (saturation_, 0.5, (0.2, 0.4, 0.8), (0.29289, 0.39289, 0.59289)),
        (saturation_, 3.0, (0.2, 0.4, 0.8), (0.0, 0.42844, 1.0)),
        (contrast_, 0.5, (0.2, 0.4, 0.8), (0.29289, 0.39289, 0.59289)),
        # hue 220 degrees: a third of a turn on is 340, of which red 0.8, blue 0.2 + 0.6 / 3
        (hue_, 1 / 3, (0.2, 0.4, 0.8), (0.8, 0.2, 0.4)),
        (hue_, -0.5, (1.0, 0.0, 0.0), (0.0, 1.0, 1.0)),
        (hue_, 0.3, (0.6, 0.6, 0.6), (0.6, 0.6, 0.6)),
        (hue_, 0.3, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
    ],
)
def test_worked_colours(change: Any, factor: Any, before: Any, after: Any) -> None:
    clips = torch.tensor(before).view(1, 3, 1, 1, 1).repeat(1, 1, 2, 2, 2)
    factors = () if factor is None else (torch.full((1, 1, 1, 1, 1), factor),)
    change(clips, *factors, **({"around": "luma"} if change is contrast_ else {}))
    np.testing.assert_allclose(clips[0, :, 1, 1, 1], after, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_operations_are_those_of_kornia() -> None:
    """Its luma has other weights, hence the tolerance where luma counts."""
    enhance = pytest.importorskip("kornia.enhance", reason="kornia is not installed")
    images = clips_of(6, frames=1, size=16)
    flat = images[:, :, 0]
    factor = torch.linspace(0.6, 1.4, 6)
    shift = torch.linspace(-0.4, 0.4, 6)
    column = factor.view(-1, 1, 1, 1, 1)
    for theirs, ours, tolerance in (
        (enhance.adjust_brightness_accumulative(flat, factor), (brightness_, column), 1e-6),
        (
            enhance.adjust_contrast_with_mean_subtraction(flat, factor),
            (lambda x, f: contrast_(x, f, around="frame_luma"), column),
            2e-4,
        ),
        (
            enhance.adjust_saturation_with_gray_subtraction(flat, factor),
            (saturation_, column),
            2e-4,
        ),
        (
            enhance.adjust_hue(flat, 2 * torch.pi * shift),
            (hue_, shift.view(-1, 1, 1, 1, 1)),
            1e-5,
        ),
    ):
        change, amount = ours
        found = images.clone()
        change(found, amount)
        torch.testing.assert_close(found[:, :, 0], theirs, atol=tolerance, rtol=0)


def test_too_large_a_blur_is_refused() -> None:
    law = ColourLaw(blur_probability=1, blur_taps=25)
    with pytest.raises(ParameterError, match=r"25 taps does not fit 12 pixels.*below 24"):
        augment(clips_of(1), law, np.random.default_rng(0))
