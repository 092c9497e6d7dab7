"""Small trainings: every method on `motion_shapes`, whose class is the motion, on two cores.

What a method needs to learn at this size stands here and nowhere else: the demo, the
``_tiny`` recipes and the benchmarks read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.graph import Step
from pipeline.parameters import OWN, cited
from stages.decode.decode import Decode
from stages.evaluate.backgrounds.donors import ChooseDonors
from stages.evaluate.backgrounds.videos import Backgrounds
from stages.evaluate.class_maps import ClassMaps
from stages.evaluate.encoder_maps import EncoderMaps
from stages.evaluate.features import ExtractFeatures
from stages.evaluate.finetune import Finetune
from stages.evaluate.recognise import Recognise
from stages.evaluate.recognition import Head
from stages.evaluate.region_retrieval import RegionRetrieval
from stages.evaluate.retrieval import Retrieval
from stages.evaluate.training_clips import TrainingClips
from stages.learning.clip_contrast import ClipContrast
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.method import Method
from stages.learning.momentum_contrast import MomentumContrast
from stages.learning.online_knn import OnlineKnn
from stages.learning.optimisation import Optimisation
from stages.learning.relative_speed import RelativeSpeed
from stages.learning.standardisation import IMAGENET
from stages.pretrain.methods.constcl import ConstCL, RegionContrast
from stages.pretrain.methods.ctp import CtP
from stages.pretrain.methods.fame import FAME
from stages.pretrain.methods.moco import MoCo
from stages.pretrain.methods.previts import PreViTS
from stages.pretrain.methods.rspnet import RSPNet
from stages.pretrain.methods.simclr import SimCLR
from stages.pretrain.pretrain import Pretrain
from stages.propose.slic import Slic
from stages.report.report import Report
from stages.sources.motion_shapes import Generated, MotionShapes
from stages.sources.shape_masks import ShapeMasks
from stages.synthesize.synthesize import Synthesize
from stages.track.track import Track
from workflows.steps import Steps, trained

FRAMES, STRIDE, SIZE = 8, 2, 48
AREA = (0.5, 1.0)  # of a crop; smaller ones miss the objects

# Four objects that move alike: with one, labels themselves teach little in so few steps
# (docs/results.md).
SHAPES = cited(
    MotionShapes(train_per_class=32, test_per_class=16, num_frames=20, size=64, num_objects=4),
    "tubelet: docs/results.md",
)
# The published training has 90,000 steps of 32 clips; to learn from the 384 x 16 here, patches
# are bright or dark, seen in every frame, and move evenly (docs/quality.md).
BANK = cited(
    Synthesize(
        num_frames=FRAMES,
        size=SIZE,
        num_trajectories=4096,
        inner_probabilities=(1.0,),
        interpolation="linear",
        visible_probability=1.0,
    ),
    "tubelet: docs/quality.md",
)
_TEST: Mapping[str, Any] = {
    "num_clips": 2,
    "num_frames": FRAMES,
    "frame_stride": STRIDE,
    "size": SIZE,
}
CLIPS = cited(ExtractFeatures(**_TEST), OWN)

FINETUNING = cited(
    Finetune(
        # A mirrored motion is another class.
        clips=TrainingClips(
            num_frames=FRAMES, frame_stride=STRIDE, size=SIZE, area=AREA, flip_probability=0.0
        ),
        head=Head(dropout=0.5),
        optimisation=Optimisation(
            epochs=24, batch_size=16, learning_rate=0.01, milestones=(16, 21)
        ),
    ),
    "tubelet: two cores",
)


def _training(method: Method, optimisation: Optimisation | None = None) -> Pretrain:
    return cited(
        Pretrain(
            method=method,
            encoder=EncoderSpec(width=8),
            optimisation=optimisation or _COSINE,
            knn=OnlineKnn(frame_stride=STRIDE),
        ),
        "tubelet: two cores",
    )


_VIEW: Mapping[str, Any] = {
    "num_frames": FRAMES,
    "size": SIZE,
    "crop_area": AREA,
    "colour": False,
}
_PAIR: Mapping[str, Any] = {**_VIEW, "frame_stride": STRIDE, **IMAGENET._asdict()}
# Of 256 videos: in a longer queue a video would often meet its own key as a negative.
_QUEUE = MomentumContrast(
    dim=64, hidden=128, queue_size=96, momentum=0.99, temperature=0.1, symmetric=False
)
_SPEEDS = RelativeSpeed(dim=64, queue_size=96, momentum=0.99, temperature=0.1)
_CLIP = ClipContrast(dim=64, hidden=128, hidden_layers=1)
_COSINE = Optimisation(
    epochs=16,
    batch_size=32,
    learning_rate=0.03,
    schedule="cosine",
    by_step=True,
    warmup_steps=20,
    channels_last=True,
)

# What each method needs to learn its own task in about a minute of one core.
TRAININGS: Mapping[str, Pretrain] = {
    "ctp": _training(
        CtP(
            num_frames=FRAMES,
            size=SIZE,
            strides=(1, 2),
            colour=False,
            patch_gain=1.0,
            hidden=256,
            roi_bins=3,
            initial_std=0.02,
        ),
        Optimisation(
            epochs=24,
            batch_size=16,
            learning_rate=0.01,
            milestones=(18, 22),
            gradient_clip=10.0,
            channels_last=True,
        ),
    ),
    "rspnet": _training(RSPNet(**_VIEW, relative=_SPEEDS)),
    "previts": _training(PreViTS(**_VIEW, min_valid_frames=4, relative=_SPEEDS)),
    "constcl": _training(ConstCL(**_PAIR, clip=_CLIP, region=RegionContrast(weight=0.5))),
    "fame": _training(FAME(**_PAIR, contrast=_QUEUE)),
    "moco": _training(MoCo(**_PAIR, contrast=_QUEUE)),
    "simclr": _training(SimCLR(**_PAIR, clip=_CLIP)),
}


def tiny(method: str) -> Steps:
    """The training of a method, its measures, and a report."""
    title = cited(f"{method} on motion_shapes", OWN)
    return [Report(title=title).of(about=on_shapes(TRAININGS[method]))]


def on_shapes(training: Pretrain, *, finetune: Finetune | None = None) -> list[Step]:
    """Numbers and maps of an encoder trained on the procedural videos.

    Tubes and proposals suit short, small videos. Maps are of whole frames, so that they have
    more than 3 x 3 cells.
    """
    view: Any = {"num_frames": FRAMES, "frame_stride": STRIDE, "size": SHAPES.size}
    return trained(
        Generated().of(dataset=SHAPES.of(), step_name="shapes"),
        training,
        decode=Decode(),
        bank=BANK,
        track=cited(Track(min_length=4), OWN),
        slic=cited(Slic(frame_stride=1), OWN),
        clips=CLIPS,
        retrieval=cited(Retrieval(ks=(1, 5, 10, 20), protocols=("A", "B", "C")), OWN),
        finetune=finetune,
        recognise=cited(Recognise(**_TEST), OWN),
        masks=ShapeMasks(),
        # The class is the motion: a box that moved would tell it.
        donors=cited(ChooseDonors(box="video"), OWN),
        backgrounds=cited(Backgrounds(**_TEST), OWN),
        regions=cited(RegionRetrieval(num_frames=FRAMES, frame_stride=STRIDE, size=SIZE), OWN),
        encoder_maps=cited(EncoderMaps(**view), OWN),
        class_maps=cited(ClassMaps(**view, layer="stages.2"), OWN),
        prefix="shapes_",
    )
