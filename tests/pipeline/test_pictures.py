from __future__ import annotations

import numpy as np
import pytest

from pipeline.ink import palette
from pipeline.pictures import (
    bar_chart,
    caption,
    draw_boxes,
    encode_under,
    grid,
    line_plot,
    stack,
    strip,
)
from storage_schemas.jpeg import decode_jpeg


def flat(height: int, width: int, value: int = 0) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_a_strip_scales_frames_to_one_height_and_keeps_their_shape() -> None:
    out = strip([flat(60, 80), flat(240, 120)], height=120)
    assert out.shape == (120, 160 + 4 + 60, 3)
    assert (out[:, :160] == 0).all()
    assert (out[:, 160:164] == 255).all()


def test_a_stack_pads_narrow_images_with_paper() -> None:
    out = stack([flat(10, 30), flat(20, 50, 7)])
    assert out.shape == (34, 50, 3)
    assert (out[:10, :30] == 0).all()
    assert (out[:10, 30:] == 255).all()
    assert (out[14:] == 7).all()


def test_a_grid_aligns_images_of_different_sizes() -> None:
    out = grid([flat(4, 6), flat(8, 3), flat(5, 5, 9)], columns=2, gap=2)
    assert out.shape == (8 + 2 + 8, 6 + 2 + 6, 3)
    assert (out[:8, 8:11] == 0).all()  # the second column starts where the first is widest
    assert (out[10:15, :5] == 9).all()


def test_boxes_are_drawn_in_a_copy_with_their_numbers() -> None:
    frame = flat(80, 60)
    boxes = np.array([[5, 30, 25, 60]], np.float32)
    plain, numbered = draw_boxes(frame, boxes), draw_boxes(frame, boxes, ids=[3])
    assert not frame.any()
    assert tuple(plain[30, 15]) == palette(0)
    assert tuple(numbered[59, 15]) == palette(3)
    assert not plain[:30].any()
    assert (numbered[:30] == palette(3)).all(-1).sum() > 50  # the plate of the number


def test_a_chart_shows_its_values() -> None:
    bars = bar_chart({"top-1": {"pretrained": 0.5, "random": 0.25}}, title="probe")
    lengths = [((bars == palette(i)).all(-1)[:, 260:]).sum(1).max() for i in range(2)]
    assert lengths[0] / lengths[1] == pytest.approx(2, rel=0.03)
    curve = line_plot({"loss": [4.0, 2.0, 1.0]}, title="loss")
    rows = np.flatnonzero((curve == palette(0)).all(-1)[:, 60])
    assert 28 <= rows.mean() <= 32  # the first value is the highest


def test_a_caption_adds_a_line_above() -> None:
    image = flat(20, 300, 90)
    out = caption(image, "walker ü 3 tubes")
    assert out.shape[1] == 300
    assert (out[-20:] == 90).all()
    assert (out[:-20] < 128).any()


@pytest.mark.parametrize("max_bytes", [150_000, 20_000, 2_000])
def test_a_picture_fits_its_bytes(max_bytes: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 700, 3), dtype=np.uint8)
    data = encode_under(noise, max_bytes=max_bytes)
    assert max_bytes / 4 < len(data) <= max_bytes
    height, width = decode_jpeg(data).shape[:2]
    assert width / height == pytest.approx(7 / 4, rel=0.1)


def test_a_small_picture_keeps_its_size_and_colours() -> None:
    red = np.zeros((30, 50, 3), np.uint8)
    red[..., 0] = 200
    out = decode_jpeg(encode_under(red))
    assert out.shape == red.shape
    np.testing.assert_allclose(out.mean((0, 1)), [200, 0, 0], atol=3)


def test_a_very_thin_picture_can_be_shrunk() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, 40_000, 3), dtype=np.uint8)
    assert len(encode_under(noise, max_bytes=3_000)) <= 3_000


def test_no_jpeg_fits_in_a_few_bytes() -> None:
    with pytest.raises(ValueError, match="allow at least"):
        encode_under(flat(8, 8), max_bytes=50)
