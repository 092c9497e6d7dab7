"""Features of every video from a frozen encoder, and from a random one of the same shape."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.stage import Context, GatherStage
from stages.evaluate.clips import EvaluationViews
from stages.evaluate.presets import VIEWS, ViewsPreset
from stages.evaluate.stream import map_videos
from storage_schemas.encoders import EncoderFiles
from storage_schemas.features import CLIPS, Features, FeatureWriter
from storage_schemas.noun import Items
from storage_schemas.shards import Shard

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

PoolingA = Literal["max", "average", "vcop"]


class ExtractFeatures(EvaluationViews, GatherStage, name="features", version=3):
    """Vectors of all videos, pooled in each protocol's way.

    Both encoders see the views as the trained one did, standardised with its mean and
    deviation.

    Parameters
    ----------
    preset : str
        Whose views: sets what `EvaluationViews` says, but for what is given by name.
    pooling_a : {"max", "average", "vcop"}
        ``A`` is the map pooled to 2x3x3 and flattened (CtP): adaptively, or as VCOP's code
        does, whose kernel of 2 leaves out the last row and column of 7.
    pooling_b : {"space", "space_time"}
        ``B`` is the maximum over space, then the mean over time (RSPNet's paper), or the
        maximum over both.
    random_seed : int or None
        Of the random encoder that stands beside a trained one; None leaves it out.

    Notes
    -----
    ``gap`` is the average over space and time (RSPNet's code, FAME). Vectors are means over
    the views of a video; those of each view are kept of ``gap`` only, which is small.
    downstream.md section 4.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = VIEWS

    preset: ViewsPreset = "none"
    pooling_a: PoolingA = "max"
    pooling_b: Literal["space", "space_time"] = "space"
    random_seed: int | None = Field(0, ge=0)

    def run(self, *, encoder: EncoderFiles, shards: Items[Shard], ctx: Context) -> Features:
        """Stream the videos through the encoders; memory holds a few videos at a time.

        What a killed run has written is kept, and it goes on with the other videos.
        """
        identity = self._identity(encoder, shards)
        writer = FeatureWriter(ctx.work, list(shards), identity=identity)

        def network(device: torch.device) -> Callable[[Tensor], Mapping[str, Tensor]]:
            from stages.learning.pixels import normalise

            networks = {
                name: one.to(device).eval() for name, one in self._encoders(encoder).items()
            }

            def forward(clips_NTHWC: Tensor) -> dict[str, Tensor]:
                pixels = normalise(clips_NTHWC, mean=encoder.mean, std=encoder.std)
                return {
                    f"{name}.{pooling}": vectors
                    for name, one in networks.items()
                    for pooling, vectors in pool(
                        one(pixels), pooling_a=self.pooling_a, pooling_b=self.pooling_b
                    ).items()
                }

            return forward

        def done(row: int, video_id: str, found: Mapping[str, NDArray[np.float32]]) -> None:
            values = {}
            for name, vectors_ND in found.items():
                which, pooling = name.split(".")
                values[which, pooling] = vectors_ND.mean(0)
                if pooling == "gap":
                    values[which, CLIPS] = vectors_ND
            writer.put(row, values)

        map_videos(shards, self, ctx=ctx, network=network, done=done, finished=writer.finished)
        return writer.features()

    def _identity(self, encoder: EncoderFiles, shards: Items[Shard]) -> str:
        """Of all that the features come from: a work folder may be used for other work."""
        with encoder.weights.open("rb") as weights:
            digest = hashlib.file_digest(weights, "sha256")
        facts = [
            self.version, self.model_dump(mode="json"), dict(encoder.parameters),
            encoder.mean, encoder.std, encoder.origin, [str(one) for one in shards.folders],
        ]  # fmt: skip
        digest.update(json.dumps(facts, sort_keys=True).encode())
        return digest.hexdigest()

    def _encoders(self, files: EncoderFiles) -> dict[str, nn.Module]:
        from stages.learning.encoder_spec import EncoderSpec
        from stages.learning.encoders import load_encoder, random_encoder

        found: dict[str, nn.Module] = {files.origin: load_encoder(files)}
        if self.random_seed is not None and files.origin != "random":
            spec = EncoderSpec.model_validate(files.parameters)
            found["random"] = random_encoder(spec, seed=self.random_seed)
        return found


def pool(
    features_NCTHW: Tensor, *, pooling_a: PoolingA = "max", pooling_b: str = "space"
) -> dict[str, Tensor]:
    """Vectors of views by pooling name, each (N, D), from feature maps; see the stage."""
    from torch.nn import functional

    match pooling_a:
        case "max":
            a = functional.adaptive_max_pool3d(features_NCTHW, (2, 3, 3))
        case "average":
            a = functional.adaptive_avg_pool3d(features_NCTHW, (2, 3, 3))
        case "vcop":
            a = functional.max_pool3d(features_NCTHW, (1, 2, 2))
    highest_NCT = features_NCTHW.amax((3, 4))
    return {
        "A": a.flatten(1),
        "B": highest_NCT.mean(2) if pooling_b == "space" else highest_NCT.amax(2),
        "gap": features_NCTHW.mean((2, 3, 4)),
    }
