"""MotionShapes: the truth is true, the bias is a bias, and a kill costs nothing."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest
from miniatures import by_place

from pipeline.stage import Context
from stages.sources import motion_shapes
from stages.sources.motion_shapes import CLASSES, Generated, MotionShapes
from stages.sources.ucf101 import read_split
from storage_schemas.dataset import Dataset
from storage_schemas.labels import LabelRow

TINY = MotionShapes(train_per_class=1, test_per_class=1, num_frames=6, size=32)


def made(stage: MotionShapes, folder: Path) -> Dataset:
    (folder / "work").mkdir(parents=True)
    (folder / "data").mkdir()
    stage.run(ctx=Context(work=folder / "work")).write(folder / "data")
    return Dataset.open(folder / "data")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return made(TINY, tmp_path_factory.mktemp("shapes"))


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_listing_is_what_lies_on_disk(dataset: Dataset) -> None:
    rows = TINY.listing()
    assert len(rows) == 2 * len(CLASSES)
    files = {p.relative_to(dataset.videos_root).as_posix() for p in dataset.videos_root.glob("*/*")}
    assert files == {row.video_id for row in rows}
    assert read_split(dataset.folder / "ucfTrainTestlist", 1) == sorted(rows)


def test_videos_hold_the_rendered_frames(dataset: Dataset) -> None:
    row = TINY.listing()[0]
    truth = TINY.scene(row).frames_THWC.astype(int)
    frames = np.stack(decoded(dataset.videos_root / row.video_id)).astype(int)
    assert frames.shape == (6, 32, 32, 3)
    assert np.abs(frames - truth).mean() < 12  # 4:2:0 chroma costs most of it
    shifted = np.roll(truth, 1, axis=0)
    assert np.abs(frames - truth).mean() < np.abs(frames - shifted).mean()


def test_boxes_masks_and_tracks_agree_with_the_rendered_scene(dataset: Dataset) -> None:
    row = TINY.listing()[-1]
    boxes, scene = dataset.truth[row.video_id], TINY.scene(row)
    assert (boxes.num_frames, boxes.height, boxes.width) == (6, 32, 32)
    assert boxes.track is not None
    for i in range(len(boxes)):
        mask = boxes.mask(i)
        np.testing.assert_array_equal(mask, scene.masks_KTHW[boxes.track[i], boxes.frame[i]])
        ys, xs = np.nonzero(mask)
        tight = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        np.testing.assert_array_equal(boxes.xyxy[i], tight)


@pytest.mark.parametrize(
    ("label", "direction"),
    [("MoveRight", (1, 0)), ("MoveLeft", (-1, 0)), ("MoveDown", (0, 1)), ("MoveUp", (0, -1))],
)
def test_objects_move_as_their_class_says_at_the_stated_speed(
    label: str, direction: tuple[int, int]
) -> None:
    stage = MotionShapes(num_frames=9, size=64)
    row = next(row for row in stage.listing() if row.label == label)
    scene = stage.scene(row)
    _, speeds = motion_shapes._truth(row.video_id, scene)
    ys_xs = [np.argwhere(mask).mean(axis=0) for mask in scene.masks_KTHW[0]]
    seen = np.diff(np.asarray(ys_xs)[:, ::-1], axis=0).mean(axis=0)
    stated = np.stack([speeds["vx_pixels_per_frame"], speeds["vy_pixels_per_frame"]], axis=1)
    np.testing.assert_allclose(seen, stated.mean(axis=0), atol=0.25)
    assert float(seen @ np.asarray(direction)) > 1
    assert np.abs(stated @ np.asarray(direction)[::-1]).max() < 1e-5


def test_grow_and_shrink_mirror_each_other_and_turns_are_opposite() -> None:
    stage = MotionShapes(num_frames=9, size=64)
    first = {row.label: stage.scene(row) for row in reversed(stage.listing())}
    area = {label: scene.masks_KTHW[0].sum(axis=(1, 2)) for label, scene in first.items()}
    assert (np.diff(area["Grow"]) > 0).all()
    assert (np.diff(area["Shrink"]) < 0).all()
    for label, clockwise in (("TurnRight", True), ("TurnLeft", False)):
        u, v = motion_shapes._object_frame(
            np.array([[1.0]]),
            np.array([[0.0]]),
            np.zeros((1, 2)),
            np.array([np.sign(motion_shapes._TURN[label]) * 0.1]),
            np.ones(1),
        )
        # Right of the centre one sees what was above it before a clockwise turn (y is down).
        assert (v.item() < 0) == clockwise
        assert u.item() > 0


def test_later_objects_cover_earlier_ones() -> None:
    stage = MotionShapes(num_objects=4, num_frames=4, size=48)
    masks = stage.scene(stage.listing()[0]).masks_KTHW
    assert masks.shape[0] == 4
    assert masks.sum(axis=0).max() == 1


def backgrounds(stage: MotionShapes, split: str) -> dict[str, set[bytes]]:
    """The corner pixels of each class, which tell the background apart."""
    seen: dict[str, set[bytes]] = {}
    for row in stage.listing():
        if row.split == split:
            corner = stage.scene(row).frames_THWC[0, :2, :2]
            seen.setdefault(row.label, set()).add(corner.tobytes())
    return seen


def test_background_bias_ties_backgrounds_to_classes_per_split() -> None:
    stage = MotionShapes(
        num_classes=2, train_per_class=12, test_per_class=12, num_frames=2, size=48,
        background_bias_train=1.0, background_bias_test=0.0,
    )  # fmt: skip
    train, test = backgrounds(stage, "train"), backgrounds(stage, "test")
    right, left = CLASSES[:2]
    assert not train[right] & train[left]
    assert train[right] & test[left]
    assert test[right] & test[left]


def test_backgrounds_can_be_fewer() -> None:
    tied = MotionShapes(
        num_classes=2, train_per_class=8, num_frames=2, size=48,
        num_backgrounds=2, background_bias_train=1.0,
    )  # fmt: skip
    right, left = backgrounds(tied, "train").values()
    assert len(right) == len(left) == 1
    assert right != left
    free = tied.model_copy(update={"background_bias_train": 0.0})
    assert all(seen == right | left for seen in backgrounds(free, "train").values())
    one = free.model_copy(update={"num_backgrounds": 1})
    assert set.union(*backgrounds(one, "train").values()) == right


def test_objects_can_share_their_patterns() -> None:
    own = MotionShapes(num_classes=2, num_frames=2, size=48, num_backgrounds=1)
    shared = own.model_copy(update={"num_patterns": 1})

    def colours(stage: MotionShapes) -> list[np.ndarray]:
        scenes = [stage.scene(row) for row in stage.listing()[:4]]
        return [np.median(scene.frames_THWC[scene.masks_KTHW[0]], axis=0) for scene in scenes]

    assert np.ptp(colours(own), axis=0).max() > 60
    assert np.ptp(colours(shared), axis=0).max() < 30


def test_camera_moves_the_background_by_whole_pixels() -> None:
    still = MotionShapes(num_frames=8, size=48)
    row = still.listing()[0]
    corner = still.scene(row).frames_THWC[:, :4, :4]
    assert (corner == corner[0]).all()
    panned = still.model_copy(update={"camera_speed": 2.0}).scene(row).frames_THWC[:, :4, :4]
    assert not (panned == panned[0]).all()


def test_same_parameters_same_bytes_and_another_seed_differs(
    dataset: Dataset, tmp_path: Path
) -> None:
    again = made(TINY, tmp_path / "again")
    other = made(TINY.model_copy(update={"seed": 1}), tmp_path / "other")
    names = [p.relative_to(dataset.folder) for p in dataset.folder.rglob("*") if p.is_file()]
    assert len(names) == 2 * len(CLASSES) + 3 + 3
    for name in names:
        assert (again.folder / name).read_bytes() == (dataset.folder / name).read_bytes(), name
    video = TINY.listing()[0].video_id
    assert (other.videos_root / video).read_bytes() != (dataset.videos_root / video).read_bytes()


def test_encoding_is_reproducible_every_time(tmp_path: Path) -> None:
    # With x264's macroblock tree about one encode in 400 had other bytes.
    scenes = [TINY.scene(row).frames_THWC for row in TINY.listing()[:6]]
    seen: list[set[bytes]] = [set() for _ in scenes]
    for _ in range(100):
        for frames, contents in zip(scenes, seen, strict=True):
            motion_shapes.write_video(tmp_path / "v.mp4", frames, fps=25)
            contents.add((tmp_path / "v.mp4").read_bytes())
    assert [len(contents) for contents in seen] == [1] * len(scenes)


def test_a_killed_run_keeps_its_finished_videos(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = motion_shapes.write_video, []

    def dies_at_the_third(path: Path, frames: np.ndarray, *, fps: int) -> None:
        if len(written) == 2:
            path.write_bytes(b"half a file")
            raise KeyboardInterrupt
        written.append(path)
        write(path, frames, fps=fps)

    monkeypatch.setattr(motion_shapes, "write_video", dies_at_the_third)
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(KeyboardInterrupt):
        TINY.run(ctx=Context(work=work))
    kept = {path: path.stat().st_mtime_ns for path in work.rglob("*.mp4")}
    assert len(kept) == 2
    monkeypatch.setattr(motion_shapes, "write_video", write)
    (tmp_path / "data").mkdir()
    TINY.run(ctx=Context(work=work)).write(tmp_path / "data")
    resumed = Dataset.open(tmp_path / "data")
    for path, mtime in kept.items():
        assert (tmp_path / "data" / path.relative_to(work)).stat().st_mtime_ns == mtime
    for row in TINY.listing():
        whole, again = dataset.videos_root / row.video_id, resumed.videos_root / row.video_id
        assert again.read_bytes() == whole.read_bytes()
    assert not [name for _, _, names in os.walk(tmp_path) for name in names if ".tmp" in name]


def test_generated_lists_before_anything_is_made_and_locates_afterwards(dataset: Dataset) -> None:
    listing = Generated().scan(digest=by_place, dataset=(TINY, "a-key"))
    assert listing.labels == TINY.listing()
    for video, row in zip(listing.videos, TINY.listing(), strict=True):
        assert video.video_id == row.video_id
        assert video.digest == f"a-key/{row.video_id}"
        assert video.path is None
        assert Generated().locate(video, dataset.folder).is_file()


def test_the_preview_has_a_row_a_class(dataset: Dataset) -> None:
    picture = TINY.preview(dataset)
    assert picture.dtype == np.uint8
    assert picture.shape[0] > 72 * len(CLASSES)
    assert picture.std() > 20


def test_labels_of_listing_are_balanced() -> None:
    rows = MotionShapes(num_classes=3, train_per_class=2, test_per_class=5).listing()
    assert {row.label for row in rows} == set(CLASSES[:3])
    assert sum(row.split == "train" for row in rows) == 6
    assert len(set(rows)) == 21
    assert all(isinstance(row, LabelRow) for row in rows)
