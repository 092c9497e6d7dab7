"""RSPNet (Chen et al., AAAI 2021) on Kinetics-400: relative speed, and which video."""

from __future__ import annotations

from pipeline.parameters import cited
from stages.decode.decode import Decode
from stages.learning.encoder_spec import EncoderName, EncoderSpec
from stages.learning.optimisation import Optimisation
from stages.pretrain.methods.rspnet import RSPNet
from stages.pretrain.pretrain import Pretrain
from workflows.steps import KINETICS400, Steps, published
from workflows.tiny import tiny as tiny_training

_CONFIG = "RSPNet code: config/pretrain"


def _trained(
    encoder: EncoderName, *, rate: float, batch: int, size: int = 112, epochs: int = 200
) -> Steps:
    optimisation = Optimisation(
        epochs=cited(epochs, "RSPNet README"),
        batch_size=cited(batch, f"{_CONFIG}, times the README's 4 devices"),
        learning_rate=cited(rate, _CONFIG),
        rate_per=cited(64, "RSPNet code: environment.py"),
        momentum=0.9,
        weight_decay=1e-4,
        decay_kernels_only=False,
        schedule=cited("cosine", "RSPNet code: pretrain.py"),
        floor=cited(1e-3, "RSPNet code: pretrain.py"),
        by_step=cited(False, "RSPNet code: pretrain.py"),
        warmup_steps=cited(0, "RSPNet code: none"),
        gradient_clip=cited(None, "RSPNet code: none"),
    )
    return published(
        KINETICS400,
        Pretrain(
            method=RSPNet(
                preset=cited("reference", "RSPNet code, which made the released weights"),
                size=cited(size, _CONFIG),
            ),
            encoder=EncoderSpec(name=cited(encoder, _CONFIG)),
            optimisation=cited(optimisation, "RSPNet code: config/optimizer/sgd.libsonnet"),
        ),
        decode=Decode(short_side=cited(256, "RSPNet code: transcode_dataset.py")),
    )


def kinetics400_resnet18() -> Steps:
    """RSPNet on Kinetics-400, ResNet-18 3D, 200 epochs."""
    return _trained("r3d18_hara", rate=0.1, batch=256)


def kinetics400_c3d() -> Steps:
    """RSPNet on Kinetics-400, C3D, 200 epochs."""
    return _trained("c3d", rate=0.1, batch=128)


def kinetics400_r2plus1d() -> Steps:
    """RSPNet on Kinetics-400, R(2+1)D of VCOP, 200 epochs."""
    return _trained("r2plus1d_vcop", rate=0.05, batch=128)


def kinetics400_s3dg() -> Steps:
    """RSPNet on Kinetics-400, S3D-G, 200 epochs."""
    return _trained("s3dg", rate=0.05, batch=256, size=224)


def kinetics400_s3dg_long() -> Steps:
    """RSPNet on Kinetics-400, S3D-G, 1000 epochs: its best published encoder."""
    return _trained("s3dg", rate=0.05, batch=256, size=224, epochs=1000)


def tiny() -> Steps:
    """RSPNet on procedural videos, on two cores."""
    return tiny_training("rspnet")
