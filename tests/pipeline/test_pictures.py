from __future__ import annotations

import numpy as np
import pytest

from pipeline.pictures import (
    caption,
    draw_boxes,
    draw_mask,
    encode_under,
    grid,
    palette,
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


def test_drawing_leaves_its_input_alone() -> None:
    frame = flat(40, 60)
    boxed = draw_boxes(frame, np.array([[5, 6, 25, 30]], np.float32), ids=[3], labels=["a"])
    tinted = draw_mask(frame, np.eye(40, 60, dtype=bool), colour=palette(0), alpha=0.5)
    assert not frame.any()
    assert tuple(boxed[6, 15]) == palette(3)
    assert tuple(boxed[29, 15]) == palette(3)  # half-open: the last row is y2 - 1
    assert not boxed[30, 20:24].any()
    assert tuple(tinted[2, 2]) == tuple(v // 2 for v in palette(0))
    assert not tinted[2, 3].any()


def test_a_box_colour_is_its_identity() -> None:
    boxes = np.array([[1, 1, 9, 9], [21, 1, 29, 9]], np.float32)
    both = draw_boxes(flat(30, 40), boxes, ids=[5, 1])
    alone = draw_boxes(flat(30, 40), boxes[1:], ids=[1])
    np.testing.assert_array_equal(both[:, 20:], alone[:, 20:])
    assert len({palette(i) for i in range(8)}) == 8


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
