"""SLIC as array operations: the clustering, which may begin at given centres, and the joining.

``K`` centres, ``N`` sampled pixels, ``H`` and ``W`` the size of the image.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_OUTSIDE = 2.0**52  # the distance where a centre does not reach
_BLOCK = 2**17  # distances held at a time, so that they stay in the processor's cache


class _Pixels(NamedTuple):
    """Some rows and columns of an image, as whole numbers."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    features_6HW: NDArray[np.float64]  # y, x, three colours, 1


class Superpixels:
    """The superpixels of images of one size.

    Parameters
    ----------
    height, width : int
        Pixels.
    num_segments : int
        Superpixels to aim at; the grid rounds it.
    compactness : float
        Weight of nearness against likeness of colour.

    Attributes
    ----------
    grid_K5 : ndarray of shape (K, 5), float64
        Where the centres begin: y and x in pixels, and no colour, so that the first
        assignment knows nearness only.
    spacing : int
        Pixels between two centres of the grid, the larger of both axes.
    mean_area : float
        Pixels of the image for each centre.

    Notes
    -----
    The distance of pixel p and centre c, less what all centres share, is ``c.c - 2 c.p``: a
    matrix product. Places and colours are rounded to whole numbers below 2**15, so
    that it is exact in float64, in whatever order a library adds; the number of the centre
    rides in the lowest bits, and the least of a column tells which centre it is. Results
    are the same on all machines; of equal distances the lower number wins, as in scikit-image.

    References
    ----------
    Achanta et al., *SLIC superpixels*, TPAMI 2012; windows and grid are scikit-image's.
    """

    def __init__(self, height: int, width: int, *, num_segments: int, compactness: float) -> None:
        ys, xs = _grid(height, width, num_segments)
        places = np.mgrid[ys, xs].reshape(2, -1)
        self.grid_K5 = np.pad(places.T.astype(float), ((0, 0), (0, 3)))
        self.spacing = max(ys.step, xs.step)
        self.mean_area = height * width / len(self.grid_K5)
        self._size = np.array([height, width])
        # scikit-image asks for its windows with the number that its grid came to.
        self._reach = 2 * np.array([each.step for each in _grid(height, width, places.shape[1])])
        nearness = compactness / self.spacing
        bits = (places.shape[1] - 1).bit_length()
        self._slots = 1 << bits
        # Five squares and products of two such numbers, times the slots, stay below 2**51.
        unit = 2.0 ** ((47 - bits) // 2) / max(128, max(height, width) * nearness)
        self._scale = unit * np.array([nearness, nearness, 1, 1, 1])

    def cluster(
        self,
        lab_HWC: NDArray[np.float32],
        centres_K5: NDArray[np.float64] | None = None,
        *,
        iterations: int,
        every: int = 1,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Label every pixel with its centre.

        Parameters
        ----------
        lab_HWC : ndarray of shape (H, W, 3), float32
            CIE Lab.
        centres_K5 : ndarray of shape (K, 5), float64, optional
            Where to begin; None begins at the grid.
        iterations : int
            Assignments of pixels to centres, between which centres move to the mean of
            their pixels.
        every : int
            Centres move by every n-th pixel of every n-th row, which takes a fraction of
            the time; the last assignment is of all pixels.

        Returns
        -------
        labels_HW : ndarray of shape (H, W), int64
            Numbers of centres; the pixels of one need not hang together.
        centres_K5 : ndarray of shape (K, 5), float64
            To begin at in the next frame.
        """
        pixels = self._pixels(lab_HWC)
        centres = self.grid_K5 if centres_K5 is None else centres_K5
        centres = np.rint(centres * self._scale)
        sample = _sampled(pixels, every)
        flat = sample.features_6HW.reshape(6, -1)
        count = len(centres)
        for _ in range(iterations - 1):
            labels = self._nearest(sample, centres).ravel()
            areas = np.bincount(labels, minlength=count)
            sums_5K = np.array([np.bincount(labels, one, count) for one in flat[:5]])
            means = np.rint(sums_5K / np.maximum(areas, 1)).T
            centres = np.where(areas[:, None] > 0, means, centres)
        return self._nearest(pixels, centres), centres / self._scale

    def _pixels(self, lab_HWC: NDArray[np.float32]) -> _Pixels:
        rows, columns = (np.arange(side) for side in self._size)
        features = np.empty((6, len(rows), len(columns)))
        features[0] = rows[:, None] * self._scale[0]
        features[1] = columns * self._scale[1]
        np.multiply(np.moveaxis(lab_HWC, 2, 0), self._scale[2], out=features[2:5])
        features[5] = 1
        return _Pixels(rows, columns, np.rint(features, out=features))

    def _nearest(self, pixels: _Pixels, centres_K5: NDArray[np.float64]) -> NDArray[np.int64]:
        """Number (H, W) of the nearest centre that reaches each pixel."""
        weights = np.empty((len(centres_K5), 6))
        weights[:, :5] = -2 * self._slots * centres_K5
        weights[:, 5] = self._slots * (centres_K5**2).sum(axis=1) + np.arange(len(centres_K5))
        y, x = np.floor(centres_K5[:, :2] / self._scale[:2]).T
        far = np.abs(pixels.columns - x[:, None]) > self._reach[1]
        labels = np.empty((len(pixels.rows), len(pixels.columns)), np.int64)
        band = max(1, _BLOCK // (len(centres_K5) * len(pixels.columns)))
        for top in range(0, len(labels), band):
            rows = pixels.rows[top : top + band]
            away = np.abs(rows - y[:, None]) > self._reach[0]
            features = pixels.features_6HW[:, top : top + band].reshape(6, -1)
            distances = weights @ features
            view = distances.reshape(len(weights), len(rows), -1)
            view[away] = view.swapaxes(1, 2)[far] = _OUTSIDE
            least = distances.min(axis=0).astype(np.int64)
            labels[top : top + band] = (least & (self._slots - 1)).reshape(len(rows), -1)
        return labels


def _grid(height: int, width: int, count: int) -> tuple[slice, slice]:
    """Rows and columns of about `count` centres."""
    from skimage.util import regular_grid

    # Where it takes all rows of a short side, the slice has neither first row nor step.
    _, *found = regular_grid((1, height, width), count)  # type: ignore[no-untyped-call]
    rows, columns = (
        slice(one.start or 0, side, one.step or 1)
        for one, side in zip(found, (height, width), strict=True)
    )
    return rows, columns


def _sampled(pixels: _Pixels, every: int) -> _Pixels:
    """Every n-th row and column."""
    if every == 1:
        return pixels
    some = slice(every // 2, None, every)
    features = np.ascontiguousarray(pixels.features_6HW[:, some, some])
    return _Pixels(pixels.rows[some], pixels.columns[some], features)


def join_small(labels_HW: NDArray[np.integer], *, least: int) -> NDArray[np.integer]:
    """Number the connected pieces of a label map, without those of less than `least` pixels.

    Pixels of a small piece go to the nearest piece that stays; the largest always does.

    Returns
    -------
    ndarray of shape (H, W), integer
        Four neighbours of one number hang together.

    Notes
    -----
    scikit-image gives all of a small piece to the last neighbour it met.
    """
    import cv2
    from skimage.measure import label

    pieces: NDArray[np.integer] = label(labels_HW, background=-1, connectivity=1)  # type: ignore[no-untyped-call]
    areas = np.bincount(pieces.ravel())
    small = areas < least
    small[areas.argmax()] = False
    lost = small[pieces]
    if not lost.any():
        return pieces
    _, nearest = cv2.distanceTransformWithLabels(
        lost.view(np.uint8), cv2.DIST_L1, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    owner = np.zeros(int(nearest.max()) + 1, pieces.dtype)
    owner[nearest[~lost]] = pieces[~lost]
    return owner[nearest]
