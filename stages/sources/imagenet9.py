"""ImageNet-9 backgrounds challenge: the same objects before other backgrounds, as images.

::

    <variant>/val/<class>/*.JPEG    the challenge's test images, in ``path``
    <class>/*.JPEG                  images to train on, in ``train``

The classes' folders are numbered: ``00_dog`` ... ``08_fish``. An image is a video of one
frame; an encoder of clips sees it repeated. Its variant is the first part of its id, as in
``mixed_rand/00_dog/x.JPEG``.

References
----------
Xiao et al., *Noise or Signal: The Role of Image Backgrounds in Object Recognition*, ICLR
2021; specs/downstream.md section 9.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field

from pipeline.source import Digest, Listing, Source
from pipeline.stage import Stage
from stages.sources.listed import match
from stages.sources.walk import some
from storage_schemas.errors import SourceError
from storage_schemas.labels import LabelRow

Variant = Literal[
    "original",
    "only_bg_b",
    "only_bg_t",
    "no_fg",
    "only_fg",
    "mixed_same",
    "mixed_rand",
    "mixed_next",
]
CLASSES = (
    "00_dog", "01_bird", "02_wheeled vehicle", "03_reptile", "04_carnivore", "05_insect",
    "06_musical instrument", "07_primate", "08_fish",
)  # fmt: skip
NUM_TEST = 4050  # of each variant, 450 a class
_EXTENSIONS = frozenset([".jpeg", ".jpg", ".png"])


class ImageNet9(Source, name="imagenet9", version=1):
    """Images of the chosen variants, and images to train a classifier on.

    Parameters
    ----------
    path : Path
        Folder of the unpacked challenge (``bg_challenge``).
    variants : tuple of str
        Which test images are used; their split is ``test``.
    train : Path, optional
        Folder of the classes to train on, as ``original/train`` or ``in9l/train`` of the
        training archives. The ``val`` beside it was not cleaned by hand and is no test set;
        unpack these archives elsewhere.
    """

    path: Path = Path("bg_challenge")
    variants: tuple[Variant, ...] = Field(get_args(Variant), min_length=1)
    train: Path | None = None

    def scan(self, *, digest: Digest, dataset: tuple[Stage, str] | None) -> Listing:
        """List the images in the order of their ids, ``<variant>/<class>/<file>``."""
        root = self.path.expanduser()
        found = {str(name): _images(root / name / "val", name) for name in self.variants}
        official: dict[str, int | None] = dict.fromkeys(found, NUM_TEST)
        if self.train is not None:
            found["train"] = _images(self.train.expanduser(), "train")
            official["train"] = None
        if not any(found[name] for name in self.variants):
            raise SourceError(
                f"{root} holds no <variant>/val/<class>/*.JPEG of {', '.join(self.variants)}; "
                f"unpack backgrounds_challenge_data.tar.gz and set --set {self.name}.path=DIR"
            )
        if self.train is not None and not found["train"]:
            raise SourceError(
                f"{self.train} holds no <class>/*.JPEG; give the folder train of an archive of "
                f"training images with --set {self.name}.train=DIR"
            )
        files = {image_id: path for images in found.values() for image_id, path in images.items()}
        rows = [
            LabelRow(image_id, path.parent.name, "train" if name == "train" else "test")
            for name, images in found.items()
            for image_id, path in images.items()
        ]
        listing = match(rows, files, digest=digest)
        notes = [_count(name, images, official[name]) for name, images in found.items()]
        other = sorted({row.label for row in rows} - set(CLASSES))
        if other:
            notes.append(f"{len(other)} folders are not of the nine classes: {some(other)}")
        return Listing(listing.videos, listing.labels, [*listing.notes, *notes])


def _images(folder: Path, name: str) -> dict[str, Path]:
    """Images by id of a folder of classes; hidden files are not seen."""
    return {
        f"{name}/{path.parent.name}/{path.name}": path
        for path in folder.glob("[!.]*/[!.]*")
        if path.suffix.lower() in _EXTENSIONS
    }


def _count(name: str, images: Mapping[str, Path], official: int | None) -> str:
    of = "" if official is None else f" of {official} official ones"
    return f"{name}: {len(images)}{of} are there"
