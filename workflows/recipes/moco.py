"""MoCo on clips, the baseline of FAME, and on frames, the baseline of PreViTS."""

from __future__ import annotations

from pipeline.parameters import cited
from stages.learning.colour import ALWAYS_JITTERED
from stages.learning.momentum_contrast import MomentumContrast
from stages.pretrain.methods.moco import MoCo
from stages.sources.ucf101 import Ucf101
from stages.sources.vggsound import VggSound
from workflows.recipes import fame, previts
from workflows.steps import KINETICS400, Steps
from workflows.tiny import tiny as tiny_training


def _of_frames() -> MoCo:
    """PreViTS' base without what PreViTS adds."""
    method = MoCo(
        num_frames=cited(1, "PreViTS supplement"),
        frame_stride=1,
        size=cited(224, "PreViTS supplement and code"),
        crop_area=(0.4, 1.0),
        contrast=cited(
            MomentumContrast(
                dim=128,
                hidden=None,
                temperature=0.07,
                momentum=0.999,
                queue_size=65536,
                symmetric=False,
            ),
            "PreViTS code: moco_2D",
        ),
        colour_law=ALWAYS_JITTERED,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )
    return cited(method, "PreViTS code, after RSPNet")


def ucf101_i3d() -> Steps:
    """MoCo on UCF101 split 1, I3D at 224, with retrieval and a linear probe."""
    method = MoCo(size=fame.SIZE_OF_I3D, contrast=fame.FOR_UCF101)
    return fame.trained(Ucf101(), method, "i3d", clips=fame.CLIPS)


def kinetics400_i3d() -> Steps:
    """MoCo on Kinetics-400, I3D at 224, 200 epochs."""
    method = MoCo(size=fame.SIZE_OF_I3D, contrast=fame.FOR_KINETICS)
    return fame.trained(KINETICS400, method, "i3d")


def kinetics400_r2plus1d() -> Steps:
    """MoCo on Kinetics-400, R(2+1)D-18 at 112, 200 epochs."""
    contrast = fame.contrast(queue=65536, source="FAME supplement: Kinetics-400")
    return fame.trained(KINETICS400, MoCo(contrast=contrast), "r2plus1d18_torchvision")


def kinetics400_image() -> Steps:
    """MoCo on frames of Kinetics-400, ResNet-50, 200 epochs."""
    return previts.trained_on_frames(KINETICS400, _of_frames())


def vggsound_image() -> Steps:
    """MoCo on frames of VGG-Sound, ResNet-50, 200 epochs."""
    return previts.trained_on_frames(VggSound(), _of_frames())


def tiny() -> Steps:
    """MoCo on procedural videos, on two cores."""
    return tiny_training("moco")
