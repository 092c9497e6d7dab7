"""Steps that the recipes of all methods share: from videos to an encoder and what it is worth."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.graph import Step
from pipeline.parameters import OWN, cited
from pipeline.source import Source, labels_of, split_of
from pipeline.stage import VideoStage
from stages.decode.decode import Decode
from stages.evaluate.backgrounds.donors import ChooseDonors
from stages.evaluate.backgrounds.videos import Backgrounds
from stages.evaluate.class_maps import ClassMaps
from stages.evaluate.diagnostics import Diagnostics
from stages.evaluate.encoder_maps import EncoderMaps
from stages.evaluate.features import ExtractFeatures
from stages.evaluate.finetune import Finetune
from stages.evaluate.given_encoder import GivenEncoder
from stages.evaluate.knn import Knn
from stages.evaluate.linear_probe import LinearProbe
from stages.evaluate.recognise import Recognise
from stages.evaluate.region_retrieval import RegionRetrieval
from stages.evaluate.retrieval import Retrieval
from stages.evaluate.tracking import Tracking
from stages.learning.method import FollowsBoxes
from stages.pretrain.pretrain import Pretrain
from stages.propose.slic import Slic
from stages.report.report import Report
from stages.shard.shard import MakeShard
from stages.sources.kinetics400 import Kinetics400
from stages.synthesize.synthesize import Synthesize
from stages.track.track import Track

Steps = Sequence[Step]

_UNSEEN = 4096  # trajectories that the tracking protocol draws from
# Pretraining sees the train split; nothing else of so large a data set is decoded.
KINETICS400 = Kinetics400(splits=cited(("train",), OWN))


def published(
    videos: Source,
    training: Pretrain,
    *,
    decode: Decode,
    bank: Synthesize | None = None,
    clips: ExtractFeatures | None = None,
) -> Steps:
    """A training as its paper describes it, and a report.

    Parameters
    ----------
    videos : Source
    training : Pretrain
        What its method does not read is not computed.
    decode : Decode
        How large frames are stored.
    bank : Synthesize, optional
        Trajectories, by default the published law.
    clips : ExtractFeatures, optional
        Clips to measure the encoder on, where the same videos are used for it.
    """
    results = trained(videos.of(), training, decode=decode, bank=bank or Synthesize(), clips=clips)
    method = type(training.method).__name__
    title = f"{method} on {type(videos).__name__}"
    return [Report(title=cited(title, OWN)).of(about=results)]


def trained(
    videos: Step,
    training: Pretrain,
    *,
    decode: Decode,
    bank: Synthesize,
    track: Track | None = None,
    slic: Slic | None = None,
    clips: ExtractFeatures | None = None,
    retrieval: Retrieval | None = None,
    finetune: Finetune | None = None,
    recognise: Recognise | None = None,
    masks: VideoStage | None = None,
    donors: ChooseDonors | None = None,
    backgrounds: Backgrounds | None = None,
    regions: RegionRetrieval | None = None,
    encoder_maps: EncoderMaps | None = None,
    class_maps: ClassMaps | None = None,
    prefix: str = "",
) -> list[Step]:
    """What a trained encoder is worth, see `evaluated`; without `clips` the encoder itself.

    `masks` reads the foregrounds of the videos. `prefix` is put before the names of steps on
    frames, which another branch may have, too. Objects that `regions` and maps look for
    are those of the masks, where there are any, or tubes.
    """
    frames = decode.of(videos=videos, step_name=f"{prefix}decode")
    shards = MakeShard().of(frames=frames, step_name=f"{prefix}shard")
    labels, split = labels_of(videos), split_of(videos)
    tubes = (track or Track()).of(frames=frames, step_name=f"{prefix}track")
    seen = None if masks is None else masks.of(videos=videos, frames=frames)
    encoder = training.of(
        shards=shards,
        split=split,
        labels=labels,
        trajectories=bank.of(),
        tubes=tubes,
        proposals=(slic or Slic()).of(frames=frames, step_name=f"{prefix}slic"),
    )
    if clips is None:
        return [encoder]
    boxes = tubes if seen is None else seen
    found = evaluated(
        encoder,
        shards=shards,
        labels=labels,
        clips=clips,
        retrieval=retrieval,
        finetune=finetune,
        recognise=recognise,
        masks=seen,
        donors=donors,
        backgrounds=backgrounds,
        encoder_maps=encoder_maps,
        class_maps=class_maps,
        boxes=boxes,
        untrained=cited(GivenEncoder(encoder=training.encoder), OWN) if finetune else None,
    )
    if regions is not None:
        found.append(regions.of(encoder=encoder, shards=shards, boxes=boxes, split=split))
    if isinstance(training.method, FollowsBoxes):
        found.append(tracked(encoder, bank=bank, shards=shards, split=split))
    return found


def tracked(encoder: Step, *, bank: Synthesize, shards: Step, split: Step) -> Step:
    """How well an encoder follows patches on trajectories that `bank` did not hold."""
    unseen = bank.model_copy(update={"seed": bank.seed + 1, "num_trajectories": _UNSEEN})
    return Tracking().of(
        encoder=encoder,
        shards=shards,
        trajectories=cited(unseen, OWN).of(step_name="unseen_trajectories"),
        split=split,
    )


def evaluated(
    encoder: Step,
    *,
    shards: Step,
    labels: Step,
    clips: ExtractFeatures,
    retrieval: Retrieval | None = None,
    finetune: Finetune | None = None,
    recognise: Recognise | None = None,
    masks: Step | None = None,
    donors: ChooseDonors | None = None,
    backgrounds: Backgrounds | None = None,
    encoder_maps: EncoderMaps | None = None,
    class_maps: ClassMaps | None = None,
    boxes: Step | None = None,
    untrained: GivenEncoder | None = None,
) -> list[Step]:
    """The steps that give an encoder's numbers; with `finetune`, `recognise` tests the result.

    Where there are `masks` of the foregrounds, `backgrounds` tests it before other backgrounds.

    An encoder that is `untrained` is fine-tuned as long, to be seen beside it. Maps are drawn
    where their stages are given: of the encoder, whose method may ask for `boxes`, and of the
    classifier that it became.
    """
    features = clips.of(encoder=encoder, shards=shards)
    found = [
        (retrieval or Retrieval()).of(features=features, labels=labels, shards=shards),
        Knn().of(features=features, labels=labels),
        LinearProbe().of(features=features, labels=labels),
        Diagnostics().of(features=features, labels=labels),
    ]
    if encoder_maps is not None:
        found.append(encoder_maps.of(encoder=encoder, shards=shards, labels=labels, boxes=boxes))
    starts = [("", encoder)]
    if untrained is not None:
        starts.append(("_untrained", untrained.of(step_name="untrained")))
    chosen = masks and (donors or ChooseDonors()).of(shards=shards, masks=masks, labels=labels)
    if finetune is not None:
        for suffix, start in starts:
            classifier = finetune.of(
                encoder=start, shards=shards, labels=labels, step_name=f"finetune{suffix}"
            )
            test = (recognise or Recognise()).of(
                classifier=classifier, shards=shards, labels=labels, step_name=f"recognise{suffix}"
            )
            found.append(test)
            if masks is not None:
                variants = (backgrounds or Backgrounds()).of(
                    classifier=classifier,
                    shards=shards,
                    masks=masks,
                    donors=chosen,
                    labels=labels,
                    step_name=f"backgrounds{suffix}",
                )
                found.append(variants)
            if class_maps is not None and start is encoder:
                found.append(class_maps.of(classifier=classifier, shards=shards, labels=labels))
    return found
