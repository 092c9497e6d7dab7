"""The backgrounds challenge of images: ImageNet-9."""

from __future__ import annotations

from pipeline.stage import Context
from stages.evaluate.backgrounds.challenge import Challenge
from stages.evaluate.backgrounds.variants import VARIANTS
from stages.evaluate.split import rows_to_test
from storage_schemas.classifiers import ClassifierFiles
from storage_schemas.errors import StageFailed
from storage_schemas.labels import Labels
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
        """Test on every variant; images that are called alike in two of them are paired."""
        split, rows = rows_to_test(labels, shards)
        found: dict[str, dict[str, Shard]] = {name: {} for name in VARIANTS}
        label_of = {}
        for row in rows:
            folder, _, image_id = row.video_id.partition("/")
            if folder not in FOLDERS:
                raise StageFailed(
                    f"{row.video_id!r} is of no variant: ids begin with {', '.join(FOLDERS)}, as "
                    "those of the source imagenet9 do"
                )
            found[FOLDERS[folder]][image_id] = shards[row.video_id]
            label_of[image_id] = row.label
        variants = {name: images for name, images in found.items() if images}
        return self.measure(classifier, variants, label_of, split=split, ctx=ctx)
