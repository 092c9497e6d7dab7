"""Maps of an encoder without classes: what it responds to, and what moves."""

from __future__ import annotations

import numpy as np

from pipeline.stage import Context
from stages.evaluate.map_stage import MapStage
from stages.learning.foreground import Foreground
from storage_schemas.activation_maps import ActivationMap, ActivationMaps
from storage_schemas.encoders import EncoderFiles
from storage_schemas.labels import Labels
from storage_schemas.noun import Items
from storage_schemas.shards import Shard


class EncoderMaps(MapStage, name="encoder_maps", version=1):
    """FAME's class-agnostic maps (CAAM) and its foreground masks, of test videos.

    Parameters
    ----------
    foreground : Foreground
        How the mask is made; it looks at pixels alone.
    """

    foreground: Foreground = Foreground()

    def run(
        self, *, encoder: EncoderFiles, shards: Items[Shard], labels: Labels, ctx: Context
    ) -> ActivationMaps:
        """Maps of every view of the chosen videos."""
        import torch

        from stages.evaluate.activation import class_agnostic
        from stages.learning.encoders import load_encoder
        from stages.learning.foreground_mask import foreground_masks
        from stages.learning.pixels import standardise, to_unit

        device = self.device(ctx)
        network = load_encoder(encoder).to(device).eval()
        rows, found = self.chosen(labels, shards), {}
        for done, row in enumerate(rows):
            video = shards[row.video_id]
            clips_NCTHW = to_unit(torch.from_numpy(self.cut(video)).to(device))
            with torch.inference_mode():
                pixels = standardise(clips_NCTHW, mean=encoder.mean, std=encoder.std)
                maps = {
                    "caam": class_agnostic(network(pixels)),
                    "fame_mask": foreground_masks(clips_NCTHW, self.foreground)[:, None],
                }
            found[row.video_id] = [
                ActivationMap(
                    kind=kind,
                    values_THW=maps_NTHW[n].cpu().numpy().astype(np.float32),
                    **place,
                )
                for n, place in enumerate(self.places(video))
                for kind, maps_NTHW in maps.items()
            ]
            ctx.progress((done + 1) / len(rows), f"{done + 1} videos")
        return ActivationMaps(found)
