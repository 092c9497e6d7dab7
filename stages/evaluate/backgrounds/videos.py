"""The backgrounds challenge of videos (PreViTS): JHMDB, or any videos with masks."""

from __future__ import annotations

from pipeline.stage import Context
from stages.evaluate.backgrounds.challenge import Challenge
from stages.evaluate.backgrounds.donors import variant_videos
from stages.evaluate.split import rows_to_test
from storage_schemas.boxes import Boxes
from storage_schemas.classifiers import ClassifierFiles
from storage_schemas.donors import Donors
from storage_schemas.labels import Labels
from storage_schemas.metrics import Metrics
from storage_schemas.noun import Items
from storage_schemas.shards import Shard


class Backgrounds(Challenge, name="backgrounds", version=1):
    """Top-1 on the eight variants, of a classifier that was trained on the original videos."""

    def run(
        self,
        *,
        classifier: ClassifierFiles,
        shards: Items[Shard],
        masks: Items[Boxes],
        donors: Donors,
        labels: Labels,
        ctx: Context,
    ) -> Metrics:
        """Test on the videos that have donors; all variants have the same frames."""
        split, rows = rows_to_test(labels, shards)
        variants = variant_videos(shards, masks, donors)
        label_of = {row.video_id: row.label for row in rows}
        return self.measure(classifier, variants, label_of, split=split, ctx=ctx)
