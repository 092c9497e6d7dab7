"""What finds objects: parameters, and footage in, regions out."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pipeline.parameters import OWN
from pipeline.variant import Variant

if TYPE_CHECKING:  # a plan reads this file and must not load OpenCV
    from stages.track.flow import Motion
    from stages.track.footage import Footage
    from stages.track.foreground import Regions
    from stages.track.tube import Tube


class Backend(Variant):
    """Base of all back-ends; only the chosen one is imported.

    An optional dependency is asked for when the back-end is constructed, with the install
    line in the error.
    """

    origin = OWN

    package: ClassVar[str] = "stages.track.backends"

    def regions(
        self,
        footage: Footage,
        motion: Motion,
        *,
        min_area: float,
    ) -> Regions:
        """Regions of each frame that may be objects."""
        raise NotImplementedError

    def follow(self, tubes: list[Tube], footage: Footage, motion: Motion) -> list[Tube]:
        """The linked tubes, with masks improved by what the back-end knows."""
        return tubes
