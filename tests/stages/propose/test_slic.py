from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from stages.propose.regions import segment_boxes
from stages.propose.slic import Slic

BACKENDS = ("numpy", "skimage", "opencv")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def boxes_of(image: np.ndarray, **parameters: object) -> np.ndarray:
    """In pixels of `image`."""
    stage = Slic(**{"short_side": None, "sigma": 1.0, **parameters})
    (labels,) = stage.label_maps(image)
    _, xyxy = segment_boxes(labels, min_side=stage.min_side, max_side=stage.max_side)
    return xyxy * (np.array(image.shape[1::-1]) / labels.shape[::-1])[[0, 1, 0, 1]]


def labels_of(image: np.ndarray, **parameters: object) -> np.ndarray:
    (labels,) = Slic(**{"short_side": None, "sigma": 0.0, **parameters}).label_maps(image)
    return labels


def two_colours(height: int = 60, width: int = 80) -> np.ndarray:
    """Red left of column 27, blue right of it."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, :27, 0] = image[:, 27:, 2] = 255
    return image


def test_no_superpixel_crosses_a_hard_border(backend: str) -> None:
    labels = labels_of(two_colours(), backend=backend)
    assert not set(labels[:, :27].ravel()) & set(labels[:, 27:].ravel())


@pytest.mark.parametrize("side", [None, 60])
def test_rectangles_of_one_colour_get_boxes_of_their_own(
    picture: np.ndarray, rectangles: tuple[tuple[int, ...], ...], backend: str, side: int | None
) -> None:
    xyxy = boxes_of(picture, backend=backend, compactness=1, sigma=3.0, short_side=side)
    for wanted in rectangles:
        assert np.abs(xyxy - np.array(wanted)).max(axis=1).min() <= 3


@pytest.mark.parametrize("size", [(240, 320), (120, 213), (320, 180)], ids=str)
@pytest.mark.parametrize("count", [16, 64, 150])
def test_about_as_many_segments_as_asked_for(
    backend: str, count: int, size: tuple[int, int]
) -> None:
    ramp = np.add.outer(np.linspace(0, 90, size[0]), np.linspace(0, 90, size[1]))
    image = np.repeat(ramp[..., None], 3, axis=2).astype(np.uint8)
    found = len(np.unique(labels_of(image, backend=backend, num_segments=count, compactness=20)))
    assert 0.7 * count <= found <= 1.3 * count


def test_compact_superpixels_are_tiles(backend: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    xyxy = boxes_of(noise, backend=backend, compactness=1e4, sigma=0.0)
    assert len(xyxy) == 16
    assert np.abs(xyxy[:, 2:] - xyxy[:, :2] - 16).max() <= 2
    tiles = labels_of(two_colours(), backend=backend, compactness=1e4)
    assert set(tiles[:, :27].ravel()) & set(tiles[:, 27:].ravel())  # they know no colour


def test_small_things_survive_a_small_min_area_only(backend: str) -> None:
    # 16 superpixels of 64 x 64 pixels have 256 each; the square has 100, 0.39 of that.
    image = np.full((64, 64, 3), 40, np.uint8)
    image[27:37, 27:37] = (250, 220, 30)
    wanted = np.array([27, 27, 37, 37])
    for min_area, there in ((0.1, True), (0.25, True), (0.5, False)):
        xyxy = boxes_of(image, backend=backend, min_area=min_area, sigma=0.0)
        assert (np.abs(xyxy - wanted).max(axis=1).min() == 0) == there


def test_blur_keeps_noise_from_dissolving_superpixels(backend: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    counts = [len(np.unique(labels_of(noise, backend=backend, sigma=s))) for s in (0.0, 3.0)]
    assert counts[0] < 8 < 14 <= counts[1]


def test_sigma_is_in_pixels_of_the_stored_frame(picture: np.ndarray, backend: str) -> None:
    large = picture.repeat(2, axis=0).repeat(2, axis=1)  # shrinks back to exactly `picture`
    one = labels_of(picture, backend=backend, sigma=1.5)
    two = labels_of(large, backend=backend, sigma=3.0, short_side=len(picture))
    np.testing.assert_array_equal(one, two)


def test_the_published_picture_of_the_spec_gives_about_as_many_segments() -> None:
    data = pytest.importorskip("skimage.data")
    crop = data.astronaut()[:224, 100:274]
    assert 6 <= len(np.unique(labels_of(crop, sigma=1.0, min_area=0.5))) <= 24


@pytest.mark.parametrize(
    "parameters", [{"num_segments": 1}, {"min_area": 0}, {"backend": "seeds"}, {"short_side": 4}]
)
def test_values_that_mean_nothing_are_refused(parameters: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(parameters))):
        Slic(**parameters)
