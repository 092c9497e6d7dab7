from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from benchmarks.scenes import Scene, SceneSpec, render
from benchmarks.tubes import iou_table
from pipeline.keys import artifact_key
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


@pytest.fixture(scope="module")
def scene() -> Scene:
    return render(SceneSpec(seed=41, objects=2, camera="pan", cut=True, num_frames=48, noise=3.0))


def first_maps(stage: Slic, frames: Any) -> list[np.ndarray]:
    return [stage.frame_maps(frames, t)[0] for t in range(0, len(frames), stage.frame_stride)]


def test_warm_frames_begin_where_the_one_before_ended(scene: Scene) -> None:
    frames = scene.frames()
    warm, cold = Slic(frame_stride=4), Slic(frame_stride=4, warm_start=False)
    cut = int(np.flatnonzero(scene.cut_T)[1])
    for t in range(0, 48, 4):
        (one,), (other,) = warm.frame_maps(frames, t), cold.frame_maps(frames, t)
        # The first frame looked at after a cut begins at the grid, as a video's first does.
        assert np.array_equal(one, other) == (t == 0 or 0 <= t - cut < 4)


def test_a_long_video_begins_anew_every_32_frames(scene: Scene) -> None:
    frames = scene.frames()  # a cut at 24
    warm, cold = Slic(frame_stride=1), Slic(frame_stride=1, warm_start=False)
    same = [
        np.array_equal(warm.frame_maps(frames, t)[0], cold.frame_maps(frames, t)[0])
        for t in (0, 31, 32, 33)
    ]
    assert same == [True, False, True, False]


@pytest.mark.parametrize("parameters", [{}, {"warm_start": False}, {"backend": "skimage"}], ids=str)
def test_pictures_show_the_segments_that_were_boxed(
    scene: Scene, parameters: dict[str, Any]
) -> None:
    stage = Slic(frame_stride=3, **parameters)
    frames = scene.frames()
    boxes = stage.process(frames=frames)
    for t in (0, 21, 45):
        (labels,) = stage.frame_maps(frames, t)
        _, xyxy = segment_boxes(labels, min_side=stage.min_side, max_side=stage.max_side)
        np.testing.assert_array_equal(boxes.xyxy[boxes.in_frame(t)], xyxy * 4)


def test_warm_and_cold_find_what_scikit_image_finds() -> None:
    found: dict[str, list[float]] = {"warm": [], "cold": [], "skimage": []}
    ways = {
        "warm": Slic(frame_stride=4),
        "cold": Slic(frame_stride=4, warm_start=False),
        "skimage": Slic(frame_stride=4, backend="skimage"),
    }
    for seed in range(50, 56):
        scene = render(SceneSpec(seed=seed, objects=2, camera="pan", num_frames=25, noise=3.0))
        frames = scene.frames()
        for name, stage in ways.items():
            boxes = stage.process(frames=frames)
            truth = scene.truth()
            for t in range(4, 25, 4):
                have, want = boxes.xyxy[boxes.in_frame(t)], truth.xyxy[truth.in_frame(t)]
                found[name] += iou_table(want, have).max(axis=1).tolist()
    mean = {name: np.mean(ious) for name, ious in found.items()}
    assert mean["warm"] >= mean["skimage"] - 0.02
    assert mean["cold"] >= mean["skimage"] - 0.02
    assert mean["skimage"] > 0.6


def test_a_video_does_not_know_the_one_before(
    scene: Scene, make_frames: Callable[..., Any]
) -> None:
    stage = Slic(frame_stride=2)
    alone = stage.process(frames=scene.frames())
    stage.process(frames=make_frames(num_frames=9))
    after = stage.process(frames=scene.frames())
    np.testing.assert_array_equal(alone.xyxy, after.xyxy)


def test_only_our_back_end_takes_centres() -> None:
    for backend in ("skimage", "opencv"):
        with pytest.raises(ValidationError, match=f"back-end {backend} takes no centres: leave"):
            Slic(backend=backend, warm_start=True)
        assert Slic(backend=backend).run_length == 1
    keys = {artifact_key(Slic(warm_start=w), {}) for w in (None, False)}
    assert len(keys) == 2
