"""CVRL's views: sizes, shapes, and colours as constcl.md section 2.2 states them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import frames_of

from stages.learning.sample import Sample
from stages.learning.views import ResizedCrop
from stages.pretrain.methods.simclr import SimCLR
from storage_schemas.shards import Shard

SMALL = SimCLR(num_frames=4, frame_stride=2, size=32)


def make_sample(**more: Any) -> Sample:
    return Sample(frames=frames_of("a.mp4", kind=Shard, **more))


def test_views_are_the_frames_and_cuts_that_were_drawn() -> None:
    sample = make_sample(num_frames=12)
    views = SMALL.views(sample, np.random.default_rng(1))
    pair = SMALL.draw_pair(sample.frames, np.random.default_rng(1))
    for name, (indices, crop) in zip(("first", "second"), pair, strict=True):
        assert views[name].shape == (4, 32, 32, 3)
        assert views[name].dtype == np.uint8
        np.testing.assert_array_equal(views[name], crop.apply(sample.frames.decode(indices)))
    assert pair[0][1] != pair[1][1]


def test_cuts_have_a_uniform_area_and_aspect() -> None:
    frames = make_sample(num_frames=1, size=(400, 400)).frames
    rng = np.random.default_rng(0)
    cuts = [crop for _ in range(1000) for _, crop in SMALL.draw_pair(frames, rng)]
    area = np.array([cut.height * cut.width for cut in cuts]) / 400**2
    aspect = np.array([cut.width / cut.height for cut in cuts])
    assert area.min() > 0.29
    assert area.max() <= 1
    assert aspect.min() > 0.49
    assert aspect.max() < 2.02
    assert np.mean([cut.flip for cut in cuts]) == pytest.approx(0.5, abs=0.04)
    # Small cuts always fit, so nothing is drawn twice and the laws are seen as they are.
    options: dict[str, Any] = {
        "height": 400, "width": 400, "size": 32, "area": (0.1, 0.3), "aspect": (0.5, 2.0),
        "log_aspect": False,
    }  # fmt: skip
    small = [ResizedCrop.sample(rng, **options) for _ in range(2000)]
    assert np.mean([cut.width / cut.height for cut in small]) == pytest.approx(1.25, abs=0.03)
    assert np.mean([cut.width * cut.height / 400**2 for cut in small]) == pytest.approx(
        0.2, abs=0.005
    )


def test_network_input_holds_first_views_then_second_ones_in_minus_one_to_one() -> None:
    black, white = (torch.full((2, 4, 32, 32, 3), v, dtype=torch.uint8) for v in (0, 255))
    plain = SMALL.model_copy(update={"colour": False})
    clips = plain.network_input({"first": black, "second": white}, np.random.default_rng(0))
    assert clips.shape == (4, 3, 4, 32, 32)
    assert (clips[:2] == -1).all()
    assert (clips[2:] == 1).all()


def noise(videos: int) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(0)
    clips = torch.from_numpy(rng.integers(0, 256, (videos, 2, 32, 32, 3), dtype=np.uint8))
    return {"first": clips, "second": clips.clone()}


def roughness(clips_BCTHW: torch.Tensor) -> torch.Tensor:
    return clips_BCTHW.diff(dim=-1).abs().mean((1, 2, 3, 4)) / clips_BCTHW.std((1, 2, 3, 4))


def test_first_views_are_always_blurred_and_second_ones_seldom() -> None:
    blur_only = {
        "jitter_probability": 0.0, "grey_probability": 0.0, "solarise_probability": 0.0,
        "blur_sigma": (1.0, 2.0),
    }  # fmt: skip
    method = SMALL.model_copy(
        update={
            name: getattr(SMALL, name).model_copy(update=blur_only)
            for name in ("first_colour", "second_colour")
        }
    )
    blurred = roughness(method.network_input(noise(64), np.random.default_rng(0))) < 0.9
    assert blurred[:64].all()
    assert 0 < blurred[64:].sum() < 20


def test_laws_of_colour() -> None:
    published = SimCLR()
    for law in (published.first_colour, published.second_colour):
        assert (law.brightness, law.contrast, law.saturation, law.hue) == (0.8, 0.8, 0.8, 0.2)
        assert (law.jitter_probability, law.grey_probability) == (0.8, 0.2)
        assert law.blur_sigma == (0.1, 2.0)
        assert law.contrast_around == "channels"
        assert not law.grey_first
    assert published.first_colour.blur_probability == 1
    assert published.first_colour.solarise_probability == 0
    assert published.second_colour.blur_probability == 0.1
    assert published.second_colour.solarise_probability == 0.2


def test_colours_are_constant_over_time() -> None:
    still = noise(6)
    for clips in still.values():
        clips[:, 1] = clips[:, 0]
    out = SMALL.network_input(still, np.random.default_rng(0))
    torch.testing.assert_close(out[:, :, 1], out[:, :, 0])
    assert out.abs().max() <= 1
