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

BANK = Synthesize(
    preset=cited("reference", "CtP code"),
    num_trajectories=cited(65536, "tubelet: CtP draws anew for each clip"),
)
CLIPS = cited(
    ExtractFeatures(num_clips=10, num_frames=16, frame_stride=2, size=112),
    "CtP supplement: 10 clips of 16 frames, stride 2",
)
_UCF101 = "CtP code: pretraining_runtime_ucf.py"


def training(
    *, epochs: int = 300, milestones: tuple[int, int] = (100, 200), source: str = _UCF101
) -> Pretrain:
    """CtP of R3D-18; by default as long as on UCF101."""
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
    return Pretrain(
        method=CtP(),
        encoder=EncoderSpec(name=cited("r3d18", "CtP code: backbones/r3d.py")),
        optimisation=cited(optimisation, _UCF101),
    )


def _trained(videos: Source, training: Pretrain, *, clips: ExtractFeatures | None = None) -> Steps:
    decode = Decode(short_side=cited(144, "tubelet: the largest that CtP shrinks to"))
    return published(videos, training, decode=decode, bank=BANK, clips=clips)


def ucf101() -> Steps:
    """CtP on UCF101 split 1, R3D-18, 300 epochs, with retrieval and a linear probe."""
    return _trained(Ucf101(), training(), clips=CLIPS)


def kinetics400() -> Steps:
    """CtP on Kinetics-400, R3D-18, 90 epochs."""
    why = "CtP code: pretraining on Kinetics-400"
    return _trained(KINETICS400, training(epochs=90, milestones=(30, 60), source=why))


def tiny() -> Steps:
    """CtP on procedural videos, on two cores."""
    return tiny_training("ctp")
