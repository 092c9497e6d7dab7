"""Small trainings: every method on `motion_shapes`, whose class is the motion, on two cores.

What a method needs to learn at this size stands here and nowhere else: the demo, the
``_tiny`` recipes and the benchmarks read it.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.graph import Step
from pipeline.parameters import OWN, cited
from stages.decode.decode import Decode
from stages.evaluate.features import ExtractFeatures
from stages.evaluate.finetune import Finetune
from stages.evaluate.recognise import Recognise
from stages.evaluate.recognition import Head
from stages.evaluate.retrieval import Retrieval
from stages.evaluate.training_clips import TrainingClips
from stages.learning.clip_contrast import ClipContrast
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.method import Method
from stages.learning.momentum_contrast import MomentumContrast
from stages.learning.online_knn import OnlineKnn
from stages.learning.optimisation import Optimisation
from stages.learning.relative_speed import RelativeSpeed
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
from stages.synthesize.synthesize import Synthesize
from stages.track.track import Track
from workflows.steps import Steps, trained

FRAMES, SIZE = 8, 64

# What `benchmarks/ctp_learning.py` measures. The published training has 90,000 steps of 32
# clips; to learn from the 900 x 16 here, patches are bright or dark, seen in every frame, and
# move evenly (docs/quality.md).
SHAPES = cited(MotionShapes(train_per_class=16, test_per_class=8), OWN)
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
CLIPS = cited(ExtractFeatures(num_clips=4, num_frames=FRAMES, frame_stride=2, size=SIZE), OWN)

FINETUNING = cited(
    Finetune(
        # A mirrored motion is another class.
        clips=TrainingClips(
            num_frames=FRAMES, frame_stride=2, size=SIZE, area=(0.5, 1.0), flip_probability=0.0
        ),
        head=Head(dropout=0.5),
        optimisation=Optimisation(
            epochs=24, batch_size=16, learning_rate=0.01, milestones=(16, 21)
        ),
    ),
    "tubelet: two cores",
)


def _training(method: Method, optimisation: Optimisation) -> Pretrain:
    return cited(
        Pretrain(
            method=method,
            encoder=EncoderSpec(width=8),
            optimisation=optimisation,
            knn=OnlineKnn(frame_stride=2),
        ),
        "tubelet: two cores",
    )


_COSINE = Optimisation(
    epochs=60,
    batch_size=16,
    learning_rate=0.03,
    schedule="cosine",
    gradient_clip=10.0,
    channels_last=True,
)
_QUEUE = MomentumContrast(hidden=64, queue_size=64)
_SPEEDS = RelativeSpeed(queue_size=64)
_CLIP = ClipContrast(hidden=256, hidden_layers=1)

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
            epochs=112,
            batch_size=16,
            learning_rate=0.01,
            milestones=(84, 104),
            gradient_clip=10.0,
            channels_last=True,
        ),
    ),
    "rspnet": _training(
        RSPNet(num_frames=FRAMES, size=SIZE, colour=False, relative=_SPEEDS), _COSINE
    ),
    "previts": _training(
        PreViTS(num_frames=FRAMES, size=SIZE, colour=False, min_valid_frames=8, relative=_SPEEDS),
        _COSINE,
    ),
    "constcl": _training(
        ConstCL(
            num_frames=FRAMES,
            size=SIZE,
            colour=False,
            clip=_CLIP,
            region=RegionContrast(weight=0.5),
        ),
        _COSINE,
    ),
    "fame": _training(FAME(num_frames=FRAMES, size=SIZE, colour=False, contrast=_QUEUE), _COSINE),
    "moco": _training(MoCo(num_frames=FRAMES, size=SIZE, colour=False, contrast=_QUEUE), _COSINE),
    "simclr": _training(SimCLR(num_frames=FRAMES, size=SIZE, colour=False, clip=_CLIP), _COSINE),
}


def tiny(method: str) -> Steps:
    """The training of a method, its measures, and a report."""
    title = cited(f"{method} on motion_shapes", OWN)
    return [Report(title=title).of(about=on_shapes(TRAININGS[method]))]


def on_shapes(training: Pretrain, *, finetune: Finetune | None = None) -> list[Step]:
    """Numbers of an encoder trained on the procedural videos.

    Tubes and proposals suit short, small videos.
    """
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
        recognise=cited(Recognise(num_clips=4, num_frames=FRAMES, frame_stride=2, size=SIZE), OWN),
        prefix="shapes_",
    )
