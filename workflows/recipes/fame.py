"""FAME (Ding et al., CVPR 2022): a moving foreground over another video's background."""

from __future__ import annotations

from pipeline.parameters import cited
from pipeline.source import Source
from stages.decode.decode import Decode
from stages.evaluate.features import ExtractFeatures
from stages.learning.encoder_spec import EncoderName, EncoderSpec
from stages.learning.method import Method
from stages.learning.momentum_contrast import MomentumContrast
from stages.learning.optimisation import Optimisation
from stages.pretrain.methods.fame import FAME
from stages.pretrain.pretrain import Pretrain
from stages.sources.ucf101 import Ucf101
from workflows.steps import KINETICS400, Steps, published
from workflows.tiny import tiny as tiny_training

_PRESET = "FAME supplement; docs/methods/fame.md tells the presets"


def trained(
    videos: Source, method: Method, encoder: EncoderName, *, clips: ExtractFeatures | None = None
) -> Steps:
    """FAME or, as its baseline, MoCo.

    Notes
    -----
    The supplement has steps where the README has a cosine; a user's reproduction gained two
    points by the change (fame.md section 4). The other is ``schedule=step
    milestones=[120,180]``.
    """
    optimisation = Optimisation(
        epochs=cited(200, "FAME README"),
        batch_size=cited(64, "FAME README: in all, on 8 devices"),
        learning_rate=cited(0.01, "FAME supplement and README"),
        rate_per=cited(None, "FAME code: no scaling"),
        momentum=cited(0.9, "FAME code: train.py"),
        weight_decay=1e-4,
        decay_kernels_only=False,
        schedule=cited("cosine", "FAME README; supplement: x0.1 at 120 and 180"),
        floor=cited(0.0, "FAME code: train.py"),
        by_step=cited(False, "FAME code: train.py"),
        warmup_steps=cited(0, "FAME code: none"),
        gradient_clip=cited(None, "FAME code: none"),
    )
    return published(
        videos,
        Pretrain(
            method=method,
            encoder=EncoderSpec(name=cited(encoder, "FAME supplement and code")),
            optimisation=cited(optimisation, "FAME supplement and code"),
        ),
        decode=Decode(short_side=cited(256, "tubelet; FAME reads files as they are")),
        clips=clips,
    )


def contrast(*, queue: int, source: str, hidden: int = 512) -> MomentumContrast:
    """MoCo's part, for R(2+1)D or, with 1024 hidden channels, I3D."""
    return MomentumContrast(
        hidden=cited(hidden, "FAME code: I3D" if hidden == 1024 else "FAME code: R(2+1)D"),
        queue_size=cited(queue, source),
    )


# Of I3D at 224 pixels, and of clips that retrieval and the linear probe see.
SIZE_OF_I3D = cited(224, "FAME supplement and README: I3D")
FOR_UCF101 = contrast(queue=2048, source="FAME supplement: UCF101", hidden=1024)
FOR_KINETICS = contrast(queue=65536, source="FAME supplement: Kinetics-400", hidden=1024)
CLIPS = cited(
    ExtractFeatures(num_clips=10, num_frames=16, frame_stride=2, size=224),
    "FAME code: 10 clips of 16 frames, stride 2",
)


def ucf101_i3d() -> Steps:
    """FAME on UCF101 split 1, I3D at 224, with retrieval and a linear probe."""
    method = FAME(preset=cited("paper", _PRESET), size=SIZE_OF_I3D, contrast=FOR_UCF101)
    return trained(Ucf101(), method, "i3d", clips=CLIPS)


def kinetics400_i3d() -> Steps:
    """FAME on Kinetics-400, I3D at 224, 200 epochs."""
    method = FAME(preset=cited("paper", _PRESET), size=SIZE_OF_I3D, contrast=FOR_KINETICS)
    return trained(KINETICS400, method, "i3d")


def kinetics400_r2plus1d() -> Steps:
    """FAME on Kinetics-400, R(2+1)D-18 at 112, 200 epochs."""
    method = FAME(preset=cited("paper", _PRESET))
    return trained(KINETICS400, method, "r2plus1d18_torchvision")


def tiny() -> Steps:
    """FAME on procedural videos, on two cores."""
    return tiny_training("fame")
