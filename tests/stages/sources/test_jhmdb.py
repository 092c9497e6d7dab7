"""Jhmdb: lists, videos or frames, and puppet masks beside the frames, through a real store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.io
from miniatures import by_place
from numpy.typing import NDArray

from pipeline.digests import Digests
from pipeline.expand import expand
from pipeline.ledger import Ledger
from pipeline.plan import make_plan
from pipeline.run import run_plan
from pipeline.source import Listing, Source
from pipeline.store import Store
from pipeline.supervise import Options
from stages.decode.decode import Decode
from stages.sources.jhmdb import Jhmdb, JhmdbMasks, PuppetMasks
from storage_schemas.boxes import Boxes
from storage_schemas.errors import BadVideo, SourceError
from storage_schemas.labels import LabelRow
from storage_schemas.noun import Items
from storage_schemas.videos import VideoFile

CATCH = "catch/Ball_catch_u_cm_np1_fr_goo_0.avi"
POUR, POUR_TEST = "pour/Bier_pour_u_nm_np1_fr_med_1.avi", "pour/Wein_pour_0.avi"


def puppet(num_frames: int = 12, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """``part_mask`` (H, W, T): the square that `moving_square` moves; none in frame 3."""
    mask = np.zeros((height, width, num_frames), np.uint8)
    for t in range(num_frames):
        x = 4 + (2 * t) % max(1, width - 20)
        mask[10:22, x : x + 12, t] = t != 3
    return mask


def save_mask(root: Path, video_id: str, mask: NDArray[np.uint8]) -> Path:
    path = root / "puppet_mask" / video_id.removesuffix(".avi") / "puppet_mask.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"part_mask": mask}, do_compression=True)
    return path


@pytest.fixture
def root(tmp_path: Path, make_video: Callable[..., Path]) -> Path:
    splits = tmp_path / "splits"
    splits.mkdir()
    (splits / "catch_test_split1.txt").write_text(f"{Path(CATCH).name} 1\n")
    (splits / "pour_test_split1.txt").write_text(f"{Path(POUR).name} 1\n{Path(POUR_TEST).name} 2\n")
    for seed, video_id in enumerate((CATCH, POUR)):
        make_video(tmp_path / "ReCompress_Videos" / video_id, seed=seed)
    frames = tmp_path / "Rename_Images" / POUR_TEST.removesuffix(".avi")
    frames.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(1, 13):
        image = rng.integers(0, 255, (48, 64, 3), np.uint8)
        assert cv2.imwrite(str(frames / f"{number:05d}.png"), image)
    for length, video_id in zip((12, 10, 12), (CATCH, POUR, POUR_TEST), strict=True):
        save_mask(tmp_path, video_id, puppet(length))
    return tmp_path


def scan(source: type[Source], root: Path, **parameters: object) -> Listing:
    chosen = source.model_validate({"path": root, **parameters})
    return chosen.scan(digest=by_place, dataset=None)


def test_ids_labels_and_counts(root: Path) -> None:
    listing = scan(Jhmdb, root)
    assert listing.labels == [
        LabelRow(CATCH, "catch", "train"),
        LabelRow(POUR, "pour", "train"),
        LabelRow(POUR_TEST, "pour", "test"),
    ]
    assert listing.notes == ["3 of 928 official clips are there"]
    assert all(len(Decode().process(videos=video)) == 12 for video in listing.videos)
    with pytest.raises(SourceError, match=r"no list <class>_test_split2\.txt"):
        scan(Jhmdb, root, split=2)


def test_a_video_goes_before_its_frames(root: Path) -> None:
    (root / "Rename_Images" / CATCH.removesuffix(".avi")).mkdir(parents=True)
    assert scan(Jhmdb, root).videos[0].path == root / "ReCompress_Videos" / CATCH
    (root / "ReCompress_Videos" / CATCH).unlink()
    assert scan(Jhmdb, root).videos[0].path == root / "Rename_Images" / CATCH.removesuffix(".avi")


def test_masks_have_the_ids_of_their_videos(root: Path) -> None:
    listing = scan(JhmdbMasks, root)
    assert [v.video_id for v in listing.videos] == [v.video_id for v in scan(Jhmdb, root).videos]
    assert listing.notes == ["masks of 3 of 928 official clips are there"]
    with pytest.raises(SourceError, match=r"holds no <class>/<clip>/puppet_mask\.mat; unpack"):
        scan(JhmdbMasks, root / "splits")


def masks_of(root: Path, frames: Any) -> Boxes:
    path = root / "puppet_mask" / CATCH.removesuffix(".avi") / "puppet_mask.mat"
    return PuppetMasks().process(masks=VideoFile(CATCH, "digest", 1, path), frames=frames)


def test_masks_and_tight_boxes_of_the_stored_frames(root: Path) -> None:
    frames = Decode().process(videos=scan(Jhmdb, root).videos[0])
    truth = masks_of(root, frames)
    assert truth.frame.tolist() == [0, 1, 2, *range(4, 12)]  # the empty one has no row
    for row, t in enumerate(truth.frame):
        np.testing.assert_array_equal(truth.mask(row), puppet()[:, :, t] != 0)
        assert truth.xyxy[row].tolist() == [4 + 2 * t, 10, 16 + 2 * t, 22]
        inside = frames.frames_THWC[t][truth.mask(row)].mean(axis=0)
        assert inside == pytest.approx([230, 60, 40], abs=25)  # the square itself


def test_masks_follow_the_size_and_the_choice_of_stored_frames(root: Path) -> None:
    frames = Decode(short_side=24, fps_cap=12.5).process(videos=scan(Jhmdb, root).videos[0])
    truth = masks_of(root, frames)
    assert (truth.height, truth.width, truth.num_frames) == (24, 32, 6)
    assert truth.frame.tolist() == [0, 1, 2, 3, 4, 5]  # source frames 0, 2, 4, ...
    assert truth.xyxy[1].tolist() == [4, 5, 10, 11]


def test_more_masks_than_frames_are_of_another_video(
    root: Path, make_frames: Callable[..., Any]
) -> None:
    with pytest.raises(BadVideo, match="12 masks for 11 frames, so they are not of this video"):
        masks_of(root, make_frames(CATCH, num_frames=11))
    assert masks_of(root, make_frames(CATCH, num_frames=14)).frame.max() == 11


def test_damaged_masks_are_told(root: Path, make_frames: Callable[..., Any]) -> None:
    path = save_mask(root, CATCH, puppet())
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(BadVideo, match=r"puppet_mask\.mat cannot be read as MATLAB's part_mask"):
        masks_of(root, make_frames(CATCH))
    scipy.io.savemat(path, {"other": puppet()})
    with pytest.raises(BadVideo, match="part_mask"):
        masks_of(root, make_frames(CATCH))
    single = puppet()[:, :, 0]
    scipy.io.savemat(path, {"part_mask": single})
    assert masks_of(root, make_frames(CATCH)).frame.tolist() == [0]


def test_masks_meet_frames_in_the_store_and_a_new_mask_changes_its_part_only(
    root: Path, store: Store
) -> None:
    def run() -> tuple[list[str], Items[Boxes]]:
        frames = Decode().of(videos=Jhmdb(path=root).of())
        truth = PuppetMasks().of(masks=JhmdbMasks(path=root).of(), frames=frames)
        digests = Digests(store.root / "digests.sqlite")
        ledger = Ledger(store.documents, part_size=2)
        graph = expand([truth], ledger=ledger, digests=digests)
        digests.close()
        result = run_plan(make_plan(graph, store, {}), store, Options())
        result.check(0.0)
        keys = [node.key for node in graph.of_step("puppet_masks")]
        computed = [node.label for node in result.computed()]
        return computed, Items(Boxes, [store.folder(key) for key in keys])

    computed, truth = run()
    assert sum("puppet_masks" in label for label in computed) == 2
    assert {video_id: len(truth[video_id]) for video_id in truth} == {
        CATCH: 11, POUR: 9, POUR_TEST: 11,
    }  # fmt: skip
    save_mask(root, POUR_TEST, puppet(5))
    computed, truth = run()
    assert [label for label in computed if not label.startswith("jhmdb_masks")] == [
        "puppet_masks · part 0001"
    ]
    assert len(truth[POUR_TEST]) == 4
