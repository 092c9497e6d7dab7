"""Which image belongs to which variant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.stage import Context
from stages.evaluate.backgrounds.images import FOLDERS, ImageBackgrounds, foreground_ids
from stages.evaluate.backgrounds.variants import VARIANTS
from stages.sources.imagenet9 import ImageNet9
from storage_schemas.classifiers import ClassifierFiles
from storage_schemas.errors import StageFailed


def test_folders_are_those_of_the_source() -> None:
    assert set(FOLDERS) == set(ImageNet9().variants)
    assert tuple(FOLDERS.values()) == VARIANTS


def test_ids_of_no_variant_are_refused(
    tiny_encoder: Any, colours: dict[str, Any], tmp_path: Path
) -> None:
    classifier = ClassifierFiles(**vars(tiny_encoder), classes=["blue", "red"])
    with pytest.raises(StageFailed, match=r"'00\.mp4' is of no variant: ids begin with original,"):
        ImageBackgrounds().run(classifier=classifier, ctx=Context(work=tmp_path), **colours)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (["original/00_dog/n02_1.JPEG"], ["00_dog/n02_1"]),
        (["mixed_rand/00_dog/fg_n02_1_bg_n05_7.JPEG"], ["00_dog/n02_1"]),
        (["mixed_same/02_wheeled vehicle/n02_1_bg_n05_7.JPEG"], ["02_wheeled vehicle/n02_1"]),
        # One dog before two backgrounds: they must stay apart.
        (
            ["mixed_rand/00_dog/fg_a_bg_b.JPEG", "mixed_rand/00_dog/fg_a_bg_c.JPEG"],
            ["00_dog/fg_a_bg_b.JPEG", "00_dog/fg_a_bg_c.JPEG"],
        ),
    ],
)
def test_images_are_paired_by_their_foreground(images: list[str], expected: list[str]) -> None:
    assert foreground_ids(images) == expected
