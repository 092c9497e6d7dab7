from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from skimage.measure import label
from skimage.segmentation import slic

from stages.propose import superpixels
from stages.propose.slic import lab_colours
from stages.propose.superpixels import Superpixels, join_small

CLIPS = Path(__file__).parents[3] / "assets" / "clips"


def photograph(name: str, *, width: int = 80, height: int = 60) -> np.ndarray:
    """Lab colours of the first frame of a real clip."""
    with av.open(str(CLIPS / name)) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgb24")
    small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return lab_colours(small, sigma=0.75)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return cv2.GaussianBlur(rng.uniform(-90, 90, (height, width, 3)).astype(np.float32), (0, 0), 2)


@pytest.mark.parametrize("count", [16, 64])
@pytest.mark.parametrize("size", [(80, 60), (107, 60), (60, 106)], ids=str)
@pytest.mark.parametrize("name", ["dog.mp4", "city.mp4", "walker_a.mp4"])
def test_cold_labels_are_those_of_scikit_image(
    name: str, size: tuple[int, int], count: int
) -> None:
    lab = photograph(name, width=size[0], height=size[1])
    ours = Superpixels(*lab.shape[:2], num_segments=count, compactness=10.0)
    for iterations, least in ((1, 1.0), (2, 0.995), (10, 0.98)):
        theirs = slic(
            lab, count, 10.0 / float(np.ptp(lab)), iterations,
            convert2lab=False, start_label=0, enforce_connectivity=False,
        )  # fmt: skip
        labels, _ = ours.cluster(lab, iterations=iterations)
        assert (labels == theirs).mean() >= least


def test_a_label_is_the_nearest_centre_within_its_window() -> None:
    lab = noise(40, 50)
    ours = Superpixels(40, 50, num_segments=12, compactness=20.0)
    labels, centres = ours.cluster(lab, iterations=4)
    assert ours.spacing == 13
    y, x = np.mgrid[:40, :50]
    near = ((y[..., None] - centres[:, 0]) ** 2 + (x[..., None] - centres[:, 1]) ** 2) / 13**2
    colour = ((lab[:, :, None] - centres[:, 2:]) ** 2).sum(-1) / 20**2
    outside = (abs(y[..., None] - np.floor(centres[:, 0])) > 26) | (
        abs(x[..., None] - np.floor(centres[:, 1])) > 26
    )
    distance = near + colour + 1e6 * outside
    chosen = np.take_along_axis(distance, labels[..., None], axis=2)[..., 0]
    assert outside.any()
    np.testing.assert_allclose(chosen, distance.min(axis=2), atol=1e-4)


def test_carrying_on_is_going_on() -> None:
    """2 iterations and 3 from the centres they gave are 4: the last moves no centre."""
    lab = noise(60, 80)
    ours = Superpixels(60, 80, num_segments=16, compactness=10.0)
    whole, end = ours.cluster(lab, iterations=4, every=2)
    _, middle = ours.cluster(lab, iterations=2, every=2)
    labels, centres = ours.cluster(lab, middle, iterations=3, every=2)
    np.testing.assert_array_equal(labels, whole)
    np.testing.assert_array_equal(centres, end)


@pytest.mark.parametrize("every", [1, 2])
def test_blocks_change_nothing(every: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = noise(61, 83)
    ours = Superpixels(61, 83, num_segments=30, compactness=10.0)
    expected = ours.cluster(lab, iterations=5, every=every)
    monkeypatch.setattr(superpixels, "_BLOCK", 1)  # a row at a time
    found = ours.cluster(lab, iterations=5, every=every)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_centres_follow_what_moves_and_stay_in_the_frame() -> None:
    wide = noise(60, 240, seed=5)
    ours = Superpixels(60, 80, num_segments=16, compactness=10.0)
    centres, grid = None, ours.grid_K5.copy()
    for t in range(0, 160, 2):
        labels, centres = ours.cluster(
            np.ascontiguousarray(wide[:, t : t + 80]), centres, iterations=3, every=2
        )
        assert (centres[:, :2] >= 0).all()
        assert (centres[:, :2] <= (59, 79)).all()
        assert len(np.unique(labels)) >= 12
    np.testing.assert_array_equal(ours.grid_K5, grid)  # the next video begins where it should


@pytest.mark.parametrize("compactness", [0.01, 1.0, 1e4])
@pytest.mark.parametrize("size", [(1, 1), (1, 90), (2, 3), (240, 320)], ids=str)
def test_whole_numbers_stay_exact_at_any_size(size: tuple[int, int], compactness: float) -> None:
    """Float64 holds them up to 2**53; the weights of all centres must, too."""
    ours = Superpixels(*size, num_segments=200, compactness=compactness)
    lab = np.full((*size, 3), 128, np.float32)
    top = np.rint(np.array([*size, 128, 128, 128]) * ours._scale)
    assert ours._slots * (3 * (top**2).sum()) < superpixels._OUTSIDE
    labels, _ = ours.cluster(lab, iterations=2)
    assert labels.shape == size
    assert 0 <= labels.min() <= labels.max() < len(ours.grid_K5)


def test_small_pieces_go_to_the_nearest_pieces() -> None:
    labels = np.zeros((8, 10), int)
    labels[:, 5:] = 1
    labels[3:5, 4:6] = 2  # 4 pixels on the border of both
    labels[0, 9] = 0  # a second piece of 0, of one pixel
    joined = join_small(labels, least=5)
    assert len(np.unique(joined)) == 2
    np.testing.assert_array_equal(joined == joined[0, 0], np.mgrid[:8, :10][1] < 5)
    assert len(np.unique(join_small(labels, least=4))) == 3
    assert len(np.unique(join_small(labels, least=1))) == 4


@pytest.mark.parametrize("seed", range(5))
def test_pieces_hang_together_and_are_large_enough(seed: int) -> None:
    lab = noise(60, 80, seed)
    raw, _ = Superpixels(60, 80, num_segments=16, compactness=5.0).cluster(lab, iterations=5)
    joined = join_small(raw, least=60)
    pieces = label(joined, background=-1, connectivity=1)
    assert len(np.unique(label(raw, background=-1, connectivity=1))) > 20  # something was joined
    assert np.unique(np.stack([pieces.ravel(), joined.ravel()]), axis=1).shape[1] == pieces.max()
    assert np.bincount(pieces.ravel())[1:].min() >= 60


def test_the_largest_piece_stays_whatever_is_asked_for() -> None:
    board = np.indices((6, 7)).sum(axis=0) % 2
    assert len(np.unique(join_small(board, least=10))) == 1
