"""The backgrounds challenge of images: ImageNet-9."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.stage import Context
from stages.evaluate.backgrounds.challenge import Challenge
from stages.evaluate.backgrounds.variants import VARIANTS
from stages.evaluate.split import rows_to_test
from storage_schemas.classifiers import ClassifierFiles
from storage_schemas.errors import StageFailed
from storage_schemas.labels import LabelRow, Labels
from storage_schemas.metrics import Metrics
from storage_schemas.noun import Items
from storage_schemas.shards import Shard

FOLDERS = {name.lower().replace("-", "_"): name for name in VARIANTS}


class ImageBackgrounds(Challenge, name="image_backgrounds", version=1):
    """Top-1 on the variants that are there, by the first part of an image's id.

    An image is a video of one frame: an encoder of images takes ``num_frames=1``, one of clips
    sees the image repeated ``num_frames`` times.
    """

    def run(
        self, *, classifier: ClassifierFiles, shards: Items[Shard], labels: Labels, ctx: Context
    ) -> Metrics:
        """Test on every variant; images of one foreground are paired, see `foreground_ids`."""
        split, rows = rows_to_test(labels, shards)
        found: dict[str, list[LabelRow]] = {name: [] for name in VARIANTS}
        for row in rows:
            folder = row.video_id.partition("/")[0]
            if folder not in FOLDERS:
                raise StageFailed(
                    f"{row.video_id!r} is of no variant: ids begin with {', '.join(FOLDERS)}, as "
                    "those of the source imagenet9 do"
                )
            found[FOLDERS[folder]].append(row)
        variants: dict[str, dict[str, Shard]] = {}
        label_of: dict[str, str] = {}
        for name, images in found.items():
            if images:
                ids = foreground_ids([row.video_id for row in images])
                label_of |= dict(zip(ids, (row.label for row in images), strict=True))
                shown = (shards[row.video_id] for row in images)
                variants[name] = dict(zip(ids, shown, strict=True))
        return self.measure(classifier, variants, label_of, split=split, ctx=ctx)


def foreground_ids(image_ids: Sequence[str]) -> list[str]:
    """Ids of a variant's images by which they are found in the other variants.

    ``mixed_same/00_dog/fg_A_bg_B.JPEG`` becomes ``00_dog/A``, as ``original/00_dog/A.JPEG``
    does. Where two images have one foreground, only the variant is left away.
    """
    own = [image_id.partition("/")[2] for image_id in image_ids]
    short = [re.sub(r"(.*/)(?:fg_)?(.*?)(?:_bg_.*)?\.\w+$", r"\1\2", one) for one in own]
    return short if len(set(short)) == len(short) else own
