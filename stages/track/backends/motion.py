"""Objects are what moves unlike the camera, and what differs from the scene behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from stages.track.backend import Backend

if TYPE_CHECKING:
    from stages.track.flow import Motion as Flow
    from stages.track.footage import Footage
    from stages.track.foreground import Regions


class Motion(Backend, version=2):
    """No weights, any kind of object; one that never moves is not found.

    Parameters
    ----------
    min_motion : float
        Least motion beside the camera's, in pixels a frame.
    noise_factor : float
        Least motion in robust deviations above the frame's median.
    """

    min_motion: float = Field(0.12, gt=0)
    noise_factor: float = Field(4.0, gt=0)

    def regions(
        self,
        footage: Footage,
        motion: Flow,
        *,
        min_area: float,
    ) -> Regions:
        """Regions that move or were uncovered by motion."""
        from stages.track.foreground import find_regions

        return find_regions(
            footage.planes,
            motion,
            min_motion=self.min_motion,
            noise_factor=self.noise_factor,
            min_area=min_area,
        )
