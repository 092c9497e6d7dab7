"""PreViTS (Chen et al., WACV 2023) on VGG-Sound and Kinetics-400: learn from what is tracked."""

from __future__ import annotations

from pipeline.parameters import cited
from pipeline.source import Source
from stages.decode.decode import Decode
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.method import Method
from stages.learning.optimisation import Optimisation
from stages.pretrain.methods.previts import PreViTS
from stages.pretrain.pretrain import Pretrain
from stages.sources.vggsound import VggSound
from workflows.steps import KINETICS400, Steps, published
from workflows.tiny import tiny as tiny_training


def _trained(
    videos: Source, method: Method, encoder: EncoderSpec, *, rate: float, per: int | None, why: str
) -> Steps:
    optimisation = Optimisation(
        epochs=cited(200, "PreViTS supplement and code"),
        batch_size=cited(256, "PreViTS supplement; code: 16 clips on 16 devices"),
        learning_rate=cited(rate, why),
        rate_per=cited(per, why),
        momentum=0.9,
        weight_decay=1e-4,
        decay_kernels_only=False,
        schedule="cosine",
        floor=1e-3,
        by_step=False,
        warmup_steps=0,
        gradient_clip=cited(None, "PreViTS code: none"),
    )
    return published(
        videos,
        Pretrain(
            method=method,
            encoder=encoder,
            optimisation=cited(optimisation, "PreViTS code, after RSPNet"),
        ),
        decode=Decode(short_side=cited(256, "RSPNet code: transcode_dataset.py")),
    )


def trained_on_frames(videos: Source, method: Method) -> Steps:
    """An image model: PreViTS' or, as its baseline, MoCo's."""
    encoder = EncoderSpec(name=cited("resnet50", "PreViTS supplement"))
    why = "PreViTS supplement; 0.3 in a command of the code"
    return _trained(videos, method, encoder, rate=0.03, per=None, why=why)


def _trained_on_clips(videos: Source) -> Steps:
    method = PreViTS(
        preset=cited("paper", "tubelet: docs/methods/previts.md"),
        model=cited("video", "PreViTS supplement"),
    )
    encoder = EncoderSpec(name=cited("s3dg", "PreViTS supplement"))
    why = "PreViTS code, after RSPNet; supplement: 0.5 for the batch"
    return _trained(videos, method, encoder, rate=0.05, per=64, why=why)


def _image_method(attention_weight: float = 3.0) -> PreViTS:
    return PreViTS(
        preset=cited("paper", "tubelet: docs/methods/previts.md"),
        model=cited("image", "PreViTS supplement"),
        attention_weight=cited(attention_weight, "PreViTS supplement: lambda; 0: sampling only"),
    )


def vggsound_video() -> Steps:
    """PreViTS on VGG-Sound, video model (RSPNet, S3D-G), 200 epochs."""
    return _trained_on_clips(VggSound())


def kinetics400_video() -> Steps:
    """PreViTS on Kinetics-400, video model (RSPNet, S3D-G), 200 epochs."""
    return _trained_on_clips(KINETICS400)


def vggsound_image() -> Steps:
    """PreViTS on VGG-Sound, image model (MoCo, ResNet-50), 200 epochs."""
    return trained_on_frames(VggSound(), _image_method())


def vggsound_image_sampling() -> Steps:
    """PreViTS on VGG-Sound, image model, with tracking-constrained sampling only."""
    return trained_on_frames(VggSound(), _image_method(attention_weight=0.0))


def kinetics400_image() -> Steps:
    """PreViTS on Kinetics-400, image model (MoCo, ResNet-50), 200 epochs."""
    return trained_on_frames(KINETICS400, _image_method())


def tiny() -> Steps:
    """PreViTS on procedural videos, on two cores."""
    return tiny_training("previts")
