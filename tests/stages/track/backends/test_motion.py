from __future__ import annotations

import numpy as np

from benchmarks.scenes import SceneSpec, render
from stages.track.backends.motion import Motion
from stages.track.flow import measure_motion
from stages.track.footage import read


def test_its_parameters_reach_the_regions() -> None:
    scene = render(SceneSpec(seed=2, num_frames=12))
    footage = read(scene.frames(), 0, 99, working_side=120)
    motion = measure_motion(footage.planes[0], min_match=0.5)
    shares = []
    for backend in (Motion(), Motion(min_motion=50.0)):
        regions = backend.regions(footage, motion, min_area=0.004)
        shares.append(np.mean([strength.sum() for strength in regions.strength]))
    assert shares[0] > 0.5
    assert shares[1] == 0
