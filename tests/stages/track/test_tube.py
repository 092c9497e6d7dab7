from __future__ import annotations

import numpy as np

from stages.track.tube import Patch, Tube


def test_evidence_is_that_of_the_best_frames() -> None:
    tube = Tube()
    for t in range(20):
        tube.see(t, Patch(0, 0, np.ones((2, 2), np.bool_)), 1.0 if 5 <= t < 10 else 0.0, 1.0)
    assert tube.evidence(5) == 1
    assert tube.evidence(10) == 0.5


def test_patches_overlap_where_their_boxes_do() -> None:
    one, other = Patch(0, 0, np.ones((4, 6), np.bool_)), Patch(4, 2, np.ones((4, 6), np.bool_))
    assert one.overlap(other) == other.overlap(one) == 4
    assert one.overlap(other.shifted(10, 0)) == 0
    np.testing.assert_array_equal(Patch.of(other.paste((20, 20))).mask, other.mask)
