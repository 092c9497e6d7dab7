"""Maps of a classifier: where in a clip the evidence for a class lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pipeline.stage import Context
from stages.evaluate.finetune import load_classifier
from stages.evaluate.map_stage import MapStage
from stages.evaluate.recognition import Recognition
from storage_schemas.activation_maps import ActivationMap, ActivationMaps
from storage_schemas.classifiers import ClassifierFiles
from storage_schemas.errors import ParameterError
from storage_schemas.labels import Labels
from storage_schemas.noun import Items
from storage_schemas.shards import Shard

if TYPE_CHECKING:
    from torch import Tensor

    from stages.learning.objective import Objective

Kind = Literal["cam", "grad_cam", "guided_grad_cam"]


class ClassMaps(MapStage, name="class_maps", version=1):
    """CAM, Grad-CAM and Guided Grad-CAM of test videos.

    Parameters
    ----------
    kinds : tuple of str
    layer : str
        Module of the encoder whose map Grad-CAM weighs, such as ``stages.2``; empty for the
        encoder's output. There a linear layer on averages makes it equal to what is
        positive of CAM, but for its scale.
    target : {"answer", "label"}
        Whose class: the one that was answered, or the right one.
    """

    kinds: tuple[Kind, ...] = ("cam", "grad_cam", "guided_grad_cam")
    layer: str = ""
    target: Literal["answer", "label"] = "answer"

    def run(
        self, *, classifier: ClassifierFiles, shards: Items[Shard], labels: Labels, ctx: Context
    ) -> ActivationMaps:
        """Maps of every view of the chosen videos."""
        import torch

        device = self.device(ctx)
        objective = load_classifier(classifier).to(device)
        names, found = list(classifier.classes), {}
        for row, video, clips_NTHWC in self.looked_at(labels, shards, ctx):
            wanted = None
            if self.target == "label":
                if row.label not in names:
                    raise ParameterError(
                        f"class {row.label!r} is unknown to the classifier; "
                        f"set {self.name}.target=answer",
                        video_id=row.video_id,
                    )
                wanted = names.index(row.label)
            maps, classes, shares = class_maps(
                objective,
                torch.from_numpy(clips_NTHWC).to(device),
                kinds=self.kinds,
                layer=self.layer,
                wanted=wanted,
            )
            found[row.video_id] = [
                ActivationMap(
                    kind=kind,
                    values_THW=maps_NTHW[n].cpu().numpy(),
                    text=f"{names[classes[n]]} {100 * shares[n]:.0f} %, is {row.label}",
                    **place,
                )
                for n, place in enumerate(self.places(video))
                for kind, maps_NTHW in maps.items()
            ]
        return ActivationMaps(found)


def class_maps(
    objective: Objective,
    clips_NTHWC: Tensor,
    *,
    kinds: tuple[Kind, ...],
    layer: str = "",
    wanted: int | None = None,
) -> tuple[dict[str, Tensor], list[int], list[float]]:
    """Maps of clips of uint8 by their kind, each (N, T', H', W'); classes and probabilities.

    Parameters
    ----------
    objective : Objective
        A classifier of `Recognition`, in evaluation mode.
    clips_NTHWC : Tensor
    kinds, layer
        See `ClassMaps`.
    wanted : int, optional
        Class that the maps are of; without, the answer to each clip.
    """
    import torch

    from stages.evaluate.activation import (
        class_activation,
        grad_cam,
        gradient_at,
        guided_grad_cam,
        guided_gradient,
    )
    from stages.learning.pixels import normalise

    method, encoder = objective.method, objective.encoder
    assert isinstance(method, Recognition)
    classifier: Any = objective.heads["classifier"]
    pixels = normalise(clips_NTHWC, mean=method.mean, std=method.std)
    with torch.no_grad():
        last = encoder(pixels)
        logits_NK = classifier(method.pooled(last))
    class_N = logits_NK.argmax(1) if wanted is None else torch.full_like(logits_NK[:, 0], wanted)
    class_N = class_N.long()

    def scores(map_NCTHW: Tensor) -> Tensor:
        scores_N: Tensor = classifier(method.pooled(map_NCTHW)).gather(1, class_N[:, None])[:, 0]
        return scores_N

    maps = {}
    if "cam" in kinds:
        maps["cam"] = class_activation(last, classifier.weight[class_N]).detach()
    if "grad_cam" in kinds or "guided_grad_cam" in kinds:
        coarse = grad_cam(*gradient_at(encoder, layer, scores, pixels))
        if "grad_cam" in kinds:
            maps["grad_cam"] = coarse
        if "guided_grad_cam" in kinds:
            gradient = guided_gradient(lambda x: scores(encoder(x)), pixels)
            maps["guided_grad_cam"] = guided_grad_cam(gradient, coarse)
    shares_N = logits_NK.softmax(1).gather(1, class_N[:, None])[:, 0]
    return maps, class_N.tolist(), shares_N.tolist()
