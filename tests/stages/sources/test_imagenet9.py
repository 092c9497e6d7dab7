"""ImageNet9: variants, the images to train on, and that images travel as videos of one frame."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from miniatures import by_place

from pipeline.source import Listing
from stages.decode.decode import Decode
from stages.shard.shard import MakeShard
from stages.sources.imagenet9 import CLASSES, ImageNet9
from storage_schemas.errors import SourceError
from storage_schemas.labels import LabelRow, Labels

NAME = "fg_n02085620_10074_bg_n01440764_#1.JPEG"


def save(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 255, (224, 224, 3), np.uint8)
    ok, data = cv2.imencode(".jpg", image)
    assert ok
    path.write_bytes(data.tobytes())
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed, variant in enumerate(("original", "mixed_same", "mixed_rand")):
        for number, label in enumerate(CLASSES):
            save(tmp_path / "bg_challenge" / variant / "val" / label / NAME, 10 * seed + number)
    masks = tmp_path / "bg_challenge/fg_mask/val/00_dog"
    masks.mkdir(parents=True)
    (masks / "n02085620_10074.npy").touch()
    (tmp_path / "bg_challenge/original/val/00_dog/.DS_Store").touch()
    return tmp_path / "bg_challenge"


def scan(root: Path, **parameters: object) -> Listing:
    source = ImageNet9.model_validate({"path": root, **parameters})
    return source.scan(digest=by_place, dataset=None)


def test_ids_say_the_variant_and_counts_are_told(root: Path) -> None:
    listing = scan(root, variants=["original", "mixed_rand"])
    assert len(listing.videos) == 18
    assert (listing.labels or [])[0] == LabelRow(f"mixed_rand/00_dog/{NAME}", "00_dog", "test")
    assert listing.notes == [
        "original: 9 of 4050 official ones are there",
        "mixed_rand: 9 of 4050 official ones are there",
    ]
    assert Labels(listing.labels or ()).classes == list(CLASSES)  # in the order of their numbers
    everything = scan(root)
    assert len(everything.videos) == 27
    assert "no_fg: 0 of 4050 official ones are there" in everything.notes


def test_an_image_is_one_frame_untouched_up_to_the_shard(root: Path) -> None:
    video = scan(root, variants=["mixed_same"]).videos[2]
    frames = Decode().process(videos=video)
    shard = MakeShard().process(frames=frames)
    assert video.path is not None
    assert list(shard.jpegs) == [video.path.read_bytes()]
    assert (len(shard), shard.height, shard.width) == (1, 224, 224)


def test_images_to_train_on_come_from_a_folder_of_their_own(root: Path, tmp_path: Path) -> None:
    save(tmp_path / "in9l/train/03_reptile/a.JPEG", 99)
    save(tmp_path / "in9l/train/misc/b.JPEG", 98)
    save(tmp_path / "in9l/val/03_reptile/not_cleaned.JPEG", 97)
    listing = scan(root, variants=["original"], train=tmp_path / "in9l/train")
    train = [row for row in listing.labels or () if row.split == "train"]
    assert train == [
        LabelRow("train/03_reptile/a.JPEG", "03_reptile", "train"),
        LabelRow("train/misc/b.JPEG", "misc", "train"),
    ]
    assert listing.notes[1:] == [
        "train: 2 are there",
        "1 folders are not of the nine classes: misc",
    ]


def test_nothing_there_is_an_error(root: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"holds no <variant>/val/<class>/\*\.JPEG of no_fg"):
        scan(root, variants=["no_fg"])
    with pytest.raises(SourceError, match=r"holds no <class>/\*\.JPEG; give the folder train"):
        scan(root, train=tmp_path / "nowhere")
