"""ConST-CL (Yuan et al., CVPR 2022) on Kinetics-400: find a region again in another clip."""

from __future__ import annotations

from pipeline.parameters import OWN, cited
from stages.decode.decode import Decode
from stages.learning.clip_pair import ClipPair
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.optimisation import Optimisation
from stages.pretrain.methods.constcl import ConstCL
from stages.pretrain.pretrain import Pretrain
from workflows.steps import KINETICS400, Steps, published
from workflows.tiny import tiny as tiny_training

_VIDEOS, _BATCH = 235_693, 1024


def trained(method: ClipPair, *, steps: int) -> Steps:
    """ConST-CL or, as its baseline, SimCLR on clips, for about so many steps.

    The rate is for averaged gradients: constcl.md section 5 derives it, and is unsure.
    """
    optimisation = Optimisation(
        epochs=cited(
            round(steps * _BATCH / _VIDEOS), f"ConST-CL yaml: {steps} steps, {_VIDEOS} videos"
        ),
        batch_size=_BATCH,
        learning_rate=cited(0.04, "ConST-CL yaml: 40.96 for the batch of 1024"),
        rate_per=cited(1, OWN),
        momentum=0.9,
        weight_decay=1e-6,
        decay_kernels_only=cited(True, "ConST-CL code: tasks/const_cl.py"),
        schedule="cosine",
        by_step=True,
        floor=0.0,
        warmup_steps=2500,
        warmup_from=0.0,
        gradient_clip=cited(None, "ConST-CL code: none"),
        precision="bfloat16",
    )
    return published(
        KINETICS400,
        Pretrain(
            method=method,
            encoder=EncoderSpec(name=cited("r3d50", "ConST-CL supplement table 1; yaml")),
            optimisation=cited(optimisation, "ConST-CL yaml"),
        ),
        decode=cited(
            Decode(short_side=256, fps_cap=25.0),
            "tubelet; the authors' files have 25 fps",
        ),
    )


def kinetics400() -> Steps:
    """ConST-CL on Kinetics-400, R3D-50, 200,000 steps (869 epochs)."""
    return trained(ConstCL(boxes=cited("random", "ConST-CL README")), steps=200_000)


def kinetics400_short() -> Steps:
    """ConST-CL on Kinetics-400, R3D-50, 100,000 steps (434 epochs)."""
    return trained(ConstCL(boxes=cited("random", "ConST-CL README")), steps=100_000)


def tiny() -> Steps:
    """ConST-CL on procedural videos, on two cores."""
    return tiny_training("constcl")
