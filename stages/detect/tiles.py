"""Looking at a frame in tiles, so that small objects are large enough for the detector.

A network that shrinks its input to 416 pixels hardly sees a person of 20 pixels in a frame
of 1920. Each tile is looked at by itself and the whole frame as well, for what is larger
than a tile.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.parameters import OWN, Parameters
from stages.detect.detector import Detections

# A box that comes this near to an inner edge, as a part of its own side, is of an object
# that the tile cuts: regressed sides are this exact.
_MARGIN = 0.05


class Tiles(Parameters):
    """A grid of equal, overlapping tiles, besides the whole frame; 1 x 1 is no tiles.

    An object that fits into the overlap, with a twentieth of its size to spare on each side,
    is whole in some tile wherever it is. Boxes that touch an inner edge of their tile are
    left out: the object is cut there, and seen whole in the next tile or the whole frame.

    Parameters
    ----------
    rows, columns : int
    overlap : float
        Of neighbours, as a part of a tile's side.
    """

    origin = OWN

    rows: int = Field(1, ge=1, le=16)
    columns: int = Field(1, ge=1, le=16)
    overlap: float = Field(0.2, ge=0, le=0.5)

    def windows(self, height: int, width: int) -> list[tuple[slice, slice]]:
        """Rows and columns of each tile of a frame; none where the frame is not tiled."""
        if self.rows == self.columns == 1:
            return []
        return [
            (rows, columns)
            for rows in _spans(height, self.rows, self.overlap)
            for columns in _spans(width, self.columns, self.overlap)
        ]

    def detect(
        self,
        images_NHWC: NDArray[np.uint8],
        detect: Callable[[NDArray[np.uint8]], list[Detections]],
    ) -> list[Detections]:
        """Detections of whole images and of their tiles, in pixels of the image.

        `detect` suppresses non-maxima in what it is given: a second box of an object that a
        tile cuts, one that ends before the edge, must go with the first. What several tiles
        see is left for the caller to suppress.
        """
        found = [[one] for one in detect(images_NHWC)]
        height, width = images_NHWC.shape[1:3]
        for rows, columns in self.windows(height, width):
            tiles_NHWC = np.ascontiguousarray(images_NHWC[:, rows, columns])
            for parts, one in zip(found, detect(tiles_NHWC), strict=True):
                parts.append(_whole_objects(one, rows, columns, height=height, width=width))
        return [Detections.join(parts) for parts in found]


def _spans(length: int, count: int, overlap: float) -> list[slice]:
    """Equal spans that cover a length, neighbours overlapping by a part of a span."""
    side = min(length, int(np.ceil(length / (count - (count - 1) * overlap))))
    starts = [i * (length - side) // max(1, count - 1) for i in range(count)]
    return [slice(start, start + side) for start in starts]


def _whole_objects(
    found: Detections, rows: slice, columns: slice, *, height: int, width: int
) -> Detections:
    """Boxes of a tile in pixels of the frame, without those of objects that it cuts."""
    xyxy = found.xyxy + np.array([columns.start, rows.start] * 2, np.float32)
    margin_x, margin_y = _MARGIN * (xyxy[:, 2:] - xyxy[:, :2]).T
    whole = np.ones(len(xyxy), bool)
    if columns.start > 0:
        whole &= xyxy[:, 0] >= columns.start + margin_x
    if columns.stop < width:
        whole &= xyxy[:, 2] <= columns.stop - margin_x
    if rows.start > 0:
        whole &= xyxy[:, 1] >= rows.start + margin_y
    if rows.stop < height:
        whole &= xyxy[:, 3] <= rows.stop - margin_y
    labels = [name for name, kept in zip(found.labels, whole, strict=True) if kept]
    return Detections(xyxy[whole], found.scores[whole], labels)
