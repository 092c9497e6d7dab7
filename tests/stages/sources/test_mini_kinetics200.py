"""MiniKinetics200: lists of ids, both namings of clips, and the boxes of people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.digests import Digests
from pipeline.source import Listing, Source
from stages.decode.decode import Decode
from stages.sources.mini_kinetics200 import HumanBoxes, MiniKinetics200, MiniKineticsBoxes
from storage_schemas.errors import BadVideo, SourceError
from storage_schemas.labels import LabelRow
from storage_schemas.videos import VideoFile

HEADER = "label,youtube_id,time_start,time_end,split\n"
CSV = {
    "train": "abseiling,-3B32lodo2M,59,69,train\nmarching,uLaU_15HYdo,2,12,train\n"
    "zumba,not_in_mini,1,11,train\nzumba,gone_video_,1,11,train\n",
    "val": "playing monopoly,NLL667uPWVA,5,15,val\n",
}
IDS = {"train": "-3B32lodo2M\nuLaU_15HYdo\ngone_video_\n", "val": "NLL667uPWVA\nunknown_id_\n"}
ABSEILING, MARCHING = "-3B32lodo2M_000059_000069", "uLaU_15HYdo_000002_000012"
MONOPOLY = "NLL667uPWVA_000005_000015"


@pytest.fixture
def root(tmp_path: Path, make_video: Callable[..., Path]) -> Path:
    for split, text in CSV.items():
        (tmp_path / f"{split}.csv").write_text(HEADER + text)
        (tmp_path / f"{split}_ytid_list.txt").write_text(IDS[split])
    names = [f"train_video/abseiling/{ABSEILING}", f"train_video/marching/{MARCHING}"]
    names += ["train_video/zumba/not_in_mini_000001_000011"]
    names += ["val_video/playing_monopoly/NLL667uPWVA"]  # without its times
    for seed, name in enumerate(names):
        make_video(tmp_path / f"{name}.mp4", seed=seed)
    return tmp_path


def scan(source: type[Source], root: Path) -> Listing:
    digests = Digests(root / "digests.sqlite")
    try:
        return source.model_validate({"path": root}).scan(digest=digests, dataset=None)
    finally:
        digests.close()


def save_boxes(root: Path, split: str, content: Any) -> Path:
    path = root / f"detection_{split}_merged_rearranged.npy"
    np.save(path, content, allow_pickle=True)
    return path


def people(*boxes: tuple[float, ...]) -> dict[str, Any]:
    return {"human_boxes": np.array(boxes, np.float32).reshape(-1, 5)}


def test_ids_classes_and_counts(root: Path) -> None:
    listing = scan(MiniKinetics200, root)
    assert listing.labels == [
        LabelRow(ABSEILING, "abseiling", "train"),
        LabelRow(MONOPOLY, "playing monopoly", "val"),
        LabelRow(MARCHING, "marching", "train"),
    ]
    assert listing.notes == [
        "train: 2 of 3 listed videos are there (the official list has 80000), 1 are missing: "
        "gone_video__000001_000011",
        "val: 1 of 1 listed videos are there (the official list has 5000)",
        "1 files are in no list that is used: not_in_mini_000001_000011",
        "1 ids of val_ytid_list.txt are in no list of Kinetics: unknown_id_",
    ]
    assert len(Decode().process(videos=listing.videos[1])) == 12


def test_boxes_are_those_of_each_stored_frame(root: Path) -> None:
    content = {
        "playing monopoly": {
            "NLL667uPWVA": {
                1: people((0, 0, 160, 240, 0.9), (10, 10, 20, 20, 0.1)),  # the first frame
                2: people(),
                4: people((-5, 120, 400, 999, 0.8)),  # leaves the frame
                99: people((0, 0, 1, 1, 1)),  # after the last one
            }
        }
    }
    save_boxes(root, "val", content)
    listing = scan(MiniKineticsBoxes, root)
    assert [video.video_id for video in listing.videos] == [MONOPOLY]
    assert listing.notes == ["no detection_train_merged_rearranged.npy"]
    frames = Decode().process(videos=scan(MiniKinetics200, root).videos[1])
    found = HumanBoxes().process(boxes=listing.videos[0], frames=frames)
    assert found.frame.tolist() == [0, 0, 3]
    assert found.label == ["person"] * 3
    assert found.score is not None
    assert found.score.tolist() == pytest.approx([0.9, 0.1, 0.8])
    # Frames of 48 x 64 were looked at as 240 x 320.
    np.testing.assert_allclose(found.xyxy, [[0, 0, 32, 48], [2, 2, 4, 4], [0, 24, 64, 48]])


def test_frames_that_were_not_stored_have_no_boxes(root: Path) -> None:
    save_boxes(
        root, "val", {"c": {"NLL667uPWVA": {n: people((n, 0, 99, 99, 1)) for n in range(1, 13)}}}
    )
    video = scan(MiniKinetics200, root).videos[1]
    frames = Decode(fps_cap=5).process(videos=video)
    found = HumanBoxes().process(boxes=scan(MiniKineticsBoxes, root).videos[0], frames=frames)
    assert found.frame.tolist() == [0, 1, 2]
    np.testing.assert_allclose(found.xyxy[:, 0] * 5, frames.source_frames + 1)


def test_one_file_of_boxes_is_of_many_videos_but_no_duplicate(root: Path) -> None:
    path = save_boxes(root, "train", {"a": {}})
    first = scan(MiniKineticsBoxes, root)
    assert [video.video_id for video in first.videos] == [
        ABSEILING, "gone_video__000001_000011", MARCHING,
    ]  # fmt: skip
    assert len({video.digest for video in first.videos}) == 3
    assert {video.path for video in first.videos} == {path}
    save_boxes(root, "train", {"b": {}})
    assert first.videos[0].digest != scan(MiniKineticsBoxes, root).videos[0].digest


def test_what_the_file_of_boxes_lacks(root: Path, make_frames: Callable[..., Any]) -> None:
    frames = make_frames(MONOPOLY)
    path = save_boxes(root, "val", {"a": {"other_video": {}}})
    boxes = VideoFile(MONOPOLY, "digest", 1, path)
    with pytest.raises(BadVideo, match=r"rearranged\.npy does not name NLL667uPWVA"):
        HumanBoxes().process(boxes=boxes, frames=frames)
    wrong = root / "wrong.npy"
    np.save(wrong, np.zeros(3))
    with pytest.raises(BadVideo, match=r"wrong\.npy is not \[class\]\[youtube id\]\[frame\]"):
        HumanBoxes().process(boxes=VideoFile(MONOPOLY, "digest", 1, wrong), frames=frames)


def test_missing_files_are_errors(root: Path) -> None:
    with pytest.raises(SourceError, match=r"neither detection_train_merged_rearranged\.npy nor"):
        scan(MiniKineticsBoxes, root)
    (root / "train_ytid_list.txt").unlink()
    with pytest.raises(SourceError, match=r"train_ytid_list\.txt cannot be read"):
        scan(MiniKinetics200, root)
    (root / "train_ytid_list.txt").write_text("gone_video_\n")
    (root / "val_ytid_list.txt").write_text("")
    with pytest.raises(SourceError, match="holds none of the 1 clips that its lists choose"):
        scan(MiniKinetics200, root)
