"""Features of every video from a frozen encoder, and from a random one of the same shape."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.stage import Context, GatherStage
from stages.evaluate.clips import ClipRule, clip_indices
from stages.learning.views import CropAndFlip
from storage_schemas.encoders import EncoderFiles
from storage_schemas.features import Features
from storage_schemas.noun import Items
from storage_schemas.shards import Shard

if TYPE_CHECKING:
    from torch import Tensor, nn

_AHEAD = 4  # videos decoded before the encoder asks for them


class ExtractFeatures(GatherStage, name="features", version=2):
    """Parameters of the clips and of CtP's pooling (downstream.md section 4).

    Both encoders see the clips as the trained one did, standardised with its mean and
    deviation.

    Vectors are the mean over the clips of a video. ``A`` is the map pooled to 2x3x3 and
    flattened (CtP, VCOP), ``B`` the maximum over space averaged over time (RSPNet's
    paper), ``gap`` the average over everything (RSPNet's code, FAME).
    """

    num_clips: int = Field(10, ge=1)
    num_frames: int = Field(16, ge=1)
    frame_stride: int = Field(1, ge=1)
    size: int = Field(112, ge=32)
    clip_rule: ClipRule = "even"
    pooling_a: Literal["max", "average"] = "max"
    random_seed: int = Field(0, ge=0)

    def run(self, *, encoder: EncoderFiles, shards: Items[Shard], ctx: Context) -> Features:
        """Stream the videos through both encoders; memory holds a few videos at a time."""
        import torch

        from stages.learning.encoder_spec import EncoderSpec
        from stages.learning.encoders import load_encoder, random_encoder
        from stages.learning.pixels import normalise

        torch.set_num_threads(ctx.threads)
        use_cuda = ctx.device == "cuda" or (ctx.device == "auto" and torch.cuda.is_available())
        device = torch.device("cuda" if use_cuda else "cpu")
        spec = EncoderSpec.model_validate(encoder.parameters)
        encoders: dict[str, nn.Module] = {
            "pretrained": load_encoder(encoder).to(device).eval(),
            "random": random_encoder(spec, seed=self.random_seed).to(device).eval(),
        }
        rows: dict[str, dict[str, list[NDArray[np.float32]]]] = {name: {} for name in encoders}
        video_ids = []
        with torch.inference_mode():
            for video_id, clips_NTHWC in self._clips(shards):
                clips = torch.from_numpy(clips_NTHWC).to(device)
                pixels = normalise(clips, mean=encoder.mean, std=encoder.std)
                for name, network in encoders.items():
                    pooled = pool(network(pixels), pooling_a=self.pooling_a)
                    for pooling, vectors_ND in pooled.items():
                        vector = vectors_ND.mean(0).cpu().numpy()
                        rows[name].setdefault(pooling, []).append(vector)
                video_ids.append(video_id)
                ctx.progress(len(video_ids) / len(shards), f"{len(video_ids)} videos")
        return Features(
            video_ids=video_ids,
            vectors={
                name: {pooling: np.stack(found) for pooling, found in poolings.items()}
                for name, poolings in rows.items()
            },
        )

    def _clips(self, shards: Items[Shard]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Clips of each video, decoded ahead in a thread while the encoder works."""
        with ThreadPoolExecutor(1) as pool_:
            pending: list[tuple[str, Future[NDArray[np.uint8]]]] = []
            for video_id in shards:
                pending.append((video_id, pool_.submit(self._decode, shards[video_id])))
                if len(pending) > _AHEAD:
                    first, future = pending.pop(0)
                    yield first, future.result()
            for video_id, future in pending:
                yield video_id, future.result()

    def _decode(self, video: Shard) -> NDArray[np.uint8]:
        indices = clip_indices(
            len(video),
            num_clips=self.num_clips,
            num_frames=self.num_frames,
            frame_stride=self.frame_stride,
            rule=self.clip_rule,
        )
        needed, place = np.unique(indices, return_inverse=True)
        crop = CropAndFlip.centred(height=video.height, width=video.width, size=self.size)
        return crop.apply(video.decode(needed))[place.reshape(indices.shape)]


def pool(features_NCTHW: Tensor, *, pooling_a: str) -> dict[str, Tensor]:
    """Clip vectors by pooling name, each (N, D), from feature maps."""
    from torch.nn import functional

    adaptive = (
        functional.adaptive_max_pool3d if pooling_a == "max" else functional.adaptive_avg_pool3d
    )
    return {
        "A": adaptive(features_NCTHW, (2, 3, 3)).flatten(1),
        "B": features_NCTHW.amax((3, 4)).mean(2),
        "gap": features_NCTHW.mean((2, 3, 4)),
    }
