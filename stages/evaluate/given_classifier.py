"""A classifier that was not trained here, as one of ImageNet that answers to nine classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.input_file import InputFile
from pipeline.parameters import constant
from pipeline.stage import Context, GatherStage
from stages.evaluate.given_encoder import fitting_state, unwrapped
from stages.evaluate.recognition import Recognition
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.standardisation import IMAGENET, Channels
from storage_schemas.classifiers import ClassifierFiles
from storage_schemas.encoders import EncoderFiles
from storage_schemas.errors import SchemaError, StageFailed
from storage_schemas.labels import Labels

if TYPE_CHECKING:
    from torch import Tensor

_HEADS = ("fc.", "classifier.", "head.")


class GivenClassifier(GatherStage, name="given_classifier", version=1):
    """A classifier artifact for the protocols to test.

    Parameters
    ----------
    weights : InputFile or None
        As `GivenEncoder` takes them, with the linear layer ``fc``, ``classifier`` or ``head``
        on the average over the last map. It must be set.
    encoder : EncoderSpec
        Must be what the weights are of.
    mapping : InputFile or None
        JSON of output -> number of a class of the labels, -1 for none, as
        ``in_to_in9.json`` of the backgrounds challenge. None: outputs are the labels' classes
        in order.
    mean, std : (float, float, float)
        Of RGB in 0..1: what its input was standardised with.
    """

    weights: InputFile | None = None
    encoder: EncoderSpec = constant(EncoderSpec(name="resnet50"), "tubelet")
    mapping: InputFile | None = None
    mean: Channels = IMAGENET.mean
    std: Channels = IMAGENET.std

    def run(self, *, labels: Labels, ctx: Context) -> ClassifierFiles:
        """Write encoder and layer in our form."""
        import torch

        if self.weights is None:
            raise StageFailed(f"no weights: set {self.name}.weights=FILE")
        path = self.weights.path
        head = linear_layer(path)
        outputs = len(head["bias"])
        mapping = None if self.mapping is None else read_mapping(self.mapping.path)
        classes = output_classes(labels.classes, outputs, mapping)
        torch.save(dict(fitting_state(path, self.encoder)), ctx.work / "encoder.pt")
        torch.save(head, ctx.work / "classifier.pt")
        EncoderFiles.describe(
            ctx.work, self.encoder.model_dump(mode="json"), mean=self.mean, std=self.std
        )
        method = Recognition(num_classes=outputs, mean=self.mean, std=self.std)
        ClassifierFiles.describe_classifier(
            ctx.work,
            classes=classes,
            method=method.model_dump(mode="json"),
            protocol="given classifier",
        )
        return ClassifierFiles.open(ctx.work)


def linear_layer(path: Path) -> dict[str, Tensor]:
    """``weight`` and ``bias`` of the last layer of a checkpoint."""
    from stages.learning.encoders import load_state

    state = unwrapped(load_state(path))
    for head in _HEADS:
        if {f"{head}weight", f"{head}bias"} <= state.keys():
            return {name: state[f"{head}{name}"] for name in ("weight", "bias")}
    raise SchemaError(
        f"{path} holds no linear layer named {', '.join(h.rstrip('.') for h in _HEADS)}; "
        "the recipe backgrounds_imagenet9 trains one"
    )


def read_mapping(path: Path) -> dict[int, int]:
    """Output -> number of a class."""
    try:
        return {int(output): int(number) for output, number in json.loads(path.read_text()).items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise SchemaError(f"{path} is no JSON of output -> class: {error}") from error


def output_classes(
    classes: Sequence[str], outputs: int, mapping: dict[int, int] | None
) -> list[str]:
    """The class that each output stands for, empty for none.

    Classes are numbered as their names begin, ``03_reptile``, else in order; one that no label
    names is none.

    Raises
    ------
    SchemaError
        If the mapping is of another number of outputs.
    """
    if mapping is None:
        mapping = {i: i for i in range(len(classes))}
    if sorted(mapping) != list(range(outputs)):
        raise SchemaError(
            f"the classifier has {outputs} outputs, {len(mapping)} of them are mapped to classes; "
            "set given_classifier.mapping to the file that belongs to it"
        )
    digits = [name.partition("_")[0] for name in classes]
    numbered = all(text.isdigit() for text in digits)
    numbers = [int(text) if numbered else i for i, text in enumerate(digits)]
    name_of = dict(zip(numbers, classes, strict=True))
    return [name_of.get(mapping[output], "") for output in range(outputs)]
