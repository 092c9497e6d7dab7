from __future__ import annotations

import itertools

import numpy as np
import pytest

from benchmarks.scenes import Scene, SceneSpec, grid, render

SMALL = {"height": 96, "width": 128, "num_frames": 20}


def scene(**options: object) -> Scene:
    return render(SceneSpec(seed=3, **{**SMALL, **options}))  # type: ignore[arg-type]


def test_the_seed_is_all_that_chance_depends_on() -> None:
    one, same, other = scene(), scene(), scene(noise=0)
    np.testing.assert_array_equal(one.frames_THWC, same.frames_THWC)
    np.testing.assert_array_equal(one.masks_KTHW, other.masks_KTHW)
    assert (render(SceneSpec(seed=4, **SMALL)).frames_THWC != one.frames_THWC).mean() > 0.5


def test_a_mask_is_where_the_object_changes_the_picture() -> None:
    with_it, without = scene(noise=0), scene(noise=0, objects=0)
    changed = (with_it.frames_THWC != without.frames_THWC).any(axis=-1)
    mask = with_it.masks_KTHW[0]
    assert not changed[~mask].mean() > 0.02  # the soft edge
    assert changed[mask].mean() > 0.95


@pytest.mark.parametrize("camera", ["pan", "zoom", "shake"])
def test_the_camera_moves_the_ground(camera: str) -> None:
    still, moved = (scene(objects=0, noise=0, camera=c).frames_THWC for c in ("none", camera))
    assert (still == still[0]).all()
    assert np.abs(moved[1:].astype(int) - moved[:-1]).mean((1, 2, 3)).min() > 0.2


def test_the_pillar_hides_all_of_the_first_object_for_a_while() -> None:
    seen = scene(occlusion=True, num_frames=40).visibility_KT[0]
    assert min(seen[0], seen[-1]) > 0.98
    assert 3 <= (seen == 0).sum() <= 20


def test_stopping_objects_rest_and_go_on() -> None:
    masks = scene(stopping=True).masks_KTHW[0]
    still = [(a == b).all() for a, b in itertools.pairwise(masks)]
    assert not any(still[:6])
    assert all(still[7:15])
    assert not any(still[16:])


def test_entering_objects_begin_and_end_outside() -> None:
    seen = scene(entering=True, objects=2).visibility_KT
    assert (seen[:, [0, -1]] == 0).all()
    assert (seen.max(axis=1) > 0.95).all()


def test_a_cut_changes_the_objects() -> None:
    made = scene(cut=True)
    assert np.flatnonzero(made.cut_T).tolist() == [0, 10]
    assert (made.visibility_KT[:, 0] > 0).tolist() == [True, False]
    assert (made.visibility_KT[:, -1] > 0).tolist() == [False, True]


def test_bars_are_black_and_hide_objects() -> None:
    made = scene(letterbox=0.2)
    assert not made.frames_THWC[:, :19].any()
    assert not made.masks_KTHW[..., -19:, :].any()


def test_objects_hide_each_other_and_share_no_pixel() -> None:
    made = scene(objects=4, occlusion=True)
    assert made.masks_KTHW.sum(axis=0).max() == 1
    assert made.visibility_KT[1:].min() < 0.5


def test_truth_and_frames_are_nouns_of_the_pipeline() -> None:
    made = scene(objects=2)
    truth, frames = made.truth(), made.frames()
    assert truth.track is not None
    assert len(truth) == 2 * len(frames) == 40
    np.testing.assert_array_equal(truth.mask(7), made.masks_KTHW[truth.track[7], truth.frame[7]])
    difference = frames.decode([5])[0].astype(int) - made.frames_THWC[5]
    assert np.abs(difference).mean() < 4


def test_the_grid_names_every_difficulty_once() -> None:
    names, specs = zip(*grid(2), strict=True)
    assert len(set(names)) == len({spec.seed for spec in specs}) == len(names)
    assert {spec.camera for spec in specs} == {"none", "pan", "zoom", "shake"}
