"""CtP (Wang et al., CVPR 2021): follow pasted patches through a clip."""

from __future__ import annotations

from pipeline.parameters import cited
from pipeline.source import Source
from stages.decode.decode import Decode
from stages.evaluate.features import ExtractFeatures
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.optimisation import Optimisation
from stages.pretrain.methods.ctp import CtP
from stages.pretrain.pretrain import Pretrain
from stages.sources.ucf101 import Ucf101
from stages.synthesize.synthesize import Synthesize
from workflows.steps import KINETICS400, Steps, published
from workflows.tiny import tiny as tiny_training


def _trained(
    videos: Source,
    *,
    epochs: int,
    milestones: tuple[int, int],
    source: str,
    clips: ExtractFeatures | None = None,
) -> Steps:
    optimisation = Optimisation(
        epochs=cited(epochs, source),
        batch_size=cited(32, "CtP code: 4 clips on 8 devices"),
        learning_rate=0.01,
        momentum=0.9,
        weight_decay=1e-4,
        schedule="step",
        milestones=cited(milestones, source),
        decay=0.1,
        gradient_clip=40.0,
    )
    return published(
        videos,
        Pretrain(
            method=CtP(),
            encoder=EncoderSpec(name=cited("r3d18", "CtP code: backbones/r3d.py")),
            optimisation=cited(optimisation, "CtP code: pretraining_runtime_ucf.py"),
        ),
        decode=Decode(short_side=cited(144, "tubelet: the largest that CtP shrinks to")),
        bank=Synthesize(
            preset=cited("reference", "CtP code"),
            num_trajectories=cited(65536, "tubelet: CtP draws anew for each clip"),
        ),
        clips=clips,
    )


def ucf101() -> Steps:
    """CtP on UCF101 split 1, R3D-18, 300 epochs, with retrieval and a linear probe."""
    return _trained(
        Ucf101(),
        epochs=300,
        milestones=(100, 200),
        source="CtP code: pretraining_runtime_ucf.py",
        clips=cited(
            ExtractFeatures(num_clips=10, num_frames=16, frame_stride=2, size=112),
            "CtP supplement: 10 clips of 16 frames, stride 2",
        ),
    )


def kinetics400() -> Steps:
    """CtP on Kinetics-400, R3D-18, 90 epochs."""
    return _trained(
        KINETICS400,
        epochs=90,
        milestones=(30, 60),
        source="CtP code: pretraining on Kinetics-400",
    )


def tiny() -> Steps:
    """CtP on procedural videos, on two cores."""
    return tiny_training("ctp")
