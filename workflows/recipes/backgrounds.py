"""Backgrounds challenge of videos on JHMDB: --set jhmdb.path=DIR --set jhmdb_masks.path=DIR.

Train on Original, test on all eight variants. The encoder is random unless ``--set
given_encoder.weights=FILE`` gives it; the paper starts from a model that was fine-tuned on
UCF101. docs/evaluation.md has the protocol.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.graph import Step
from pipeline.parameters import OWN, cited
from pipeline.source import labels_of
from stages.decode.decode import Decode
from stages.evaluate.backgrounds.donors import ChooseDonors
from stages.evaluate.backgrounds.images import ImageBackgrounds
from stages.evaluate.backgrounds.people import NoForeground
from stages.evaluate.backgrounds.videos import Backgrounds
from stages.evaluate.finetune import Finetune
from stages.evaluate.given_classifier import GivenClassifier
from stages.evaluate.given_encoder import GivenEncoder
from stages.evaluate.recognition import Head
from stages.evaluate.training_clips import TrainingClips
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.optimisation import Optimisation
from stages.report.report import Report
from stages.shard.shard import MakeShard
from stages.sources.imagenet9 import ImageNet9
from stages.sources.jhmdb import Jhmdb, JhmdbMasks, PuppetMasks
from stages.sources.mini_kinetics200 import HumanBoxes, MiniKinetics200, MiniKineticsBoxes

_DECODE = Decode(short_side=cited(256, "tubelet: the largest side that a preset looks at"))
_S3DG = EncoderSpec(name=cited("s3dg", "PreViTS code: config"))
_IMAGE = cited(ImageBackgrounds(num_clips=1, num_frames=1, size=224), "IN-9 code")


def recipe() -> Sequence[Step]:
    """JHMDB: fine-tuned on Original, tested on the eight variants."""
    videos = Jhmdb().of()
    frames = _DECODE.of(videos=videos)
    shards, labels = MakeShard().of(frames=frames), labels_of(videos)
    masks = PuppetMasks().of(masks=JhmdbMasks().of(), frames=frames)
    classifier = cited(Finetune(preset="previts_jhmdb_s3dg"), OWN).of(
        encoder=GivenEncoder(encoder=_S3DG).of(), shards=shards, labels=labels
    )
    test = cited(Backgrounds(preset="previts_jhmdb_s3dg"), OWN).of(
        classifier=classifier,
        shards=shards,
        masks=masks,
        donors=ChooseDonors().of(shards=shards, masks=masks, labels=labels),
        labels=labels,
    )
    return _report("Backgrounds challenge of videos", test)


def imagenet9() -> Sequence[Step]:
    """Images, with a linear head: --set imagenet9.path=DIR --set imagenet9.train=DIR."""
    images = ImageNet9().of()
    shards, labels = MakeShard().of(frames=_DECODE.of(videos=images)), labels_of(images)
    encoder = GivenEncoder(encoder=EncoderSpec(name=cited("resnet50", "PreViTS supplement")))
    head = Finetune(
        clips=TrainingClips(num_frames=1, size=224, area=(0.08, 1.0), flip_probability=0.5),
        head=Head(initial_std=0.01),
        frozen=True,
        optimisation=Optimisation(
            epochs=100,
            batch_size=256,
            learning_rate=30.0,
            weight_decay=0.0,
            schedule="step",
            milestones=(60, 80),
            gradient_clip=None,
        ),
    )
    classifier = cited(head, "MoCo code: main_lincls.py; PreViTS does not say").of(
        encoder=encoder.of(), shards=shards, labels=labels
    )
    test = _IMAGE.of(classifier=classifier, shards=shards, labels=labels)
    return _report("Backgrounds challenge of images", test)


def imagenet9_given() -> Sequence[Step]:
    """Images, with a classifier of ImageNet: --set given_classifier.weights=FILE.

    ``--set imagenet9.path=DIR --set given_classifier.mapping=in_to_in9.json``.
    """
    images = ImageNet9().of()
    shards, labels = MakeShard().of(frames=_DECODE.of(videos=images)), labels_of(images)
    classifier = GivenClassifier().of(labels=labels)
    test = _IMAGE.of(classifier=classifier, shards=shards, labels=labels)
    return _report("Backgrounds challenge of images", test)


def mini_kinetics200() -> Sequence[Step]:
    """No-FG: --set mini_kinetics200.path=DIR --set mini_kinetics_boxes.path=DIR."""
    videos = MiniKinetics200().of()
    frames = _DECODE.of(videos=videos)
    shards, labels = MakeShard().of(frames=frames), labels_of(videos)
    # Nobody reads the boxes of training videos, which take minutes and gigabytes.
    found = MiniKineticsBoxes(splits=cited(("val",), OWN)).of()
    people = HumanBoxes().of(boxes=found, frames=frames)
    classifier = cited(Finetune(preset="previts_mini_kinetics200_s3dg"), OWN).of(
        encoder=GivenEncoder(encoder=_S3DG).of(), shards=shards, labels=labels
    )
    test = cited(NoForeground(preset="previts_mini_kinetics200_s3dg"), OWN).of(
        classifier=classifier, shards=shards, boxes=people, labels=labels
    )
    return _report("mini-Kinetics without people", test)


def _report(title: str, *results: Step) -> Sequence[Step]:
    return [Report(title=cited(title, OWN)).of(about=list(results))]
