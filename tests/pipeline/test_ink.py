from __future__ import annotations

import itertools

import numpy as np
import pytest

from pipeline.ink import BLACK, PALETTE, WHITE, contrast, palette, plate, plate_size, resized

# What a colour-blind person sees, as a matrix on linear RGB: Machado, Oliveira and Fernandes,
# *A physiologically-based model for simulation of color vision deficiency*, IEEE TVCG 15(6),
# 2009, table of severity 1.0.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
# Least difference of two colours under each vision. About 2.3 is just noticeable. The others
# are what was used before, and what is often recommended, with white for black.
DIFFERENCES = {
    "normal": (21.4, 18.1, 21.7),
    "protanopia": (17.1, 8.4, 12.2),
    "deuteranopia": (17.0, 7.0, 11.6),
    "tritanopia": (17.1, 8.0, 10.9),
}
BEFORE = [
    (230, 75, 53), (77, 187, 213), (0, 160, 135), (243, 155, 127),
    (132, 145, 180), (220, 180, 20), (126, 97, 72), (200, 80, 200),
]  # fmt: skip
OKABE_ITO = [
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66),
    (0, 114, 178), (213, 94, 0), (204, 121, 167), (255, 255, 255),
]  # fmt: skip


def linear(colours: object) -> np.ndarray:
    srgb = np.asarray(colours) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def lab(linear_rgb: np.ndarray) -> np.ndarray:
    from skimage.color import rgb2lab

    clipped = np.clip(linear_rgb, 0, 1)
    srgb = np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)
    return rgb2lab(srgb)


def least_difference(colours: object, vision: str) -> float:
    """Least CIEDE2000 distance of two of the colours, as that vision sees them."""
    from skimage.color import deltaE_ciede2000

    seen = lab(linear(colours) @ np.asarray(VISION[vision]).T)
    return min(float(deltaE_ciede2000(a, b)) for a, b in itertools.combinations(seen, 2))


@pytest.mark.parametrize("vision", VISION)
def test_all_colours_differ_for_every_kind_of_vision(vision: str) -> None:
    assert least_difference(PALETTE, vision) > 16.5
    found = [least_difference(colours, vision) for colours in (PALETTE, BEFORE, OKABE_ITO)]
    np.testing.assert_allclose(found, DIFFERENCES[vision], atol=0.1)


def test_colours_differ_in_lightness() -> None:
    """So that they survive a grey printer."""
    steps = [
        np.diff(np.sort(lab(linear(colours))[:, 0])).min()
        for colours in (PALETTE, BEFORE, OKABE_ITO)
    ]
    np.testing.assert_allclose(steps, [7.7, 0.1, 0.8], atol=0.1)


def test_the_palette_repeats() -> None:
    assert len(set(PALETTE)) == 8
    assert [palette(i) for i in range(8, 16)] == list(PALETTE)


@pytest.mark.parametrize("colour", PALETTE)
def test_text_on_a_plate_has_the_contrast_that_wcag_asks_for(
    colour: tuple[int, int, int],
) -> None:
    weights = [0.2126, 0.7152, 0.0722]
    light, dark = sorted((linear(c) @ weights for c in (colour, contrast(colour))), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


@pytest.mark.parametrize("background", [0, 90, 255])
def test_a_plate_looks_the_same_on_any_background(background: int) -> None:
    image = np.full((30, 80, 3), background, np.uint8)
    plate(image, "3 é", (7, 5), palette(3), size=14)
    width, height = plate_size("3 é", 14)
    inside = image[5 : 5 + height, 7 : 7 + width]
    assert (inside == palette(3)).all(-1).mean() > 0.5
    assert (inside == contrast(palette(3))).all(-1).sum() > 10
    image[5 : 5 + height, 7 : 7 + width] = background
    assert (image == background).all()  # nothing is written beside the plate


def test_a_plate_may_hang_over_the_edge() -> None:
    image = np.zeros((12, 12, 3), np.uint8)
    plate(image, "person 0.87", (-3, -4), WHITE)
    assert (image == WHITE).all(-1).any()
    assert contrast(WHITE) == BLACK


def test_a_size_of_its_own_is_no_copy() -> None:
    image = np.zeros((6, 8, 3), np.uint8)
    assert resized(image, 6, 8) is image
    assert resized(image, 3, 16).shape == (3, 16, 3)
