"""SimCLR on clips (CVRL: Qian et al., CVPR 2021), the baseline of ConST-CL."""

from __future__ import annotations

from stages.pretrain.methods.simclr import SimCLR
from workflows.recipes.constcl import trained
from workflows.steps import Steps
from workflows.tiny import tiny as tiny_training


def kinetics400() -> Steps:
    """SimCLR on clips of Kinetics-400, R3D-50, as long as ConST-CL: 200,000 steps."""
    return trained(SimCLR(), steps=200_000)


def tiny() -> Steps:
    """SimCLR on procedural videos, on two cores."""
    return tiny_training("simclr")
