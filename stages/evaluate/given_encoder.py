"""An encoder that was not trained here: a file of weights, or weights drawn at random."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pipeline.input_file import InputFile
from pipeline.stage import Context, GatherStage
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.standardisation import IMAGENET, Channels
from storage_schemas.encoders import EncoderFiles
from storage_schemas.errors import SchemaError

if TYPE_CHECKING:
    from torch import Tensor

_WRAPPERS = ("state_dict", "model_state_dict", "model")  # what checkpoints keep weights under
_PREFIXES = ("module.", "backbone.", "encoder.")


class GivenEncoder(GatherStage, name="given_encoder", version=1):
    """An encoder artifact for the protocols to read.

    Parameters
    ----------
    weights : InputFile or None
        ``encoder.pt`` of an artifact of ours, a checkpoint of torchvision's twin of the
        encoder, or one with our names; with or without classifier. Nothing is unpickled.
        None draws them at random.
    encoder : EncoderSpec
        Must be what the weights are of.
    mean, std : (float, float, float)
        Of RGB in 0..1: what its input was standardised with.
    seed : int
        Of random weights.
    """

    weights: InputFile | None = None
    encoder: EncoderSpec = EncoderSpec()
    mean: Channels = IMAGENET.mean
    std: Channels = IMAGENET.std
    seed: int = Field(0, ge=0)

    def run(self, *, ctx: Context) -> EncoderFiles:
        """Write the weights in downstream form."""
        import torch

        from stages.learning.encoders import random_encoder

        if self.weights is None:
            state: Mapping[str, Tensor] = random_encoder(self.encoder, seed=self.seed).state_dict()
        else:
            self._check_neighbour(self.weights.path)
            state = fitting_state(self.weights.path, self.encoder)
        torch.save(dict(state), ctx.work / "encoder.pt")
        EncoderFiles.describe(
            ctx.work,
            self.encoder.model_dump(mode="json"),
            mean=self.mean,
            std=self.std,
            origin="random" if self.weights is None else "pretrained",
        )
        return EncoderFiles.open(ctx.work)

    def _check_neighbour(self, path: Path) -> None:
        """Weights of an artifact of ours lie beside what they are fed with."""
        if path.name != "encoder.pt" or not path.with_name("encoder.json").exists():
            return
        theirs = EncoderFiles.open(path.parent)
        for name, ours, found in (
            ("encoder", self.encoder.model_dump(mode="json"), dict(theirs.parameters)),
            ("mean", list(self.mean), list(theirs.mean)),
            ("std", list(self.std), list(theirs.std)),
        ):
            if ours != found:
                raise SchemaError(
                    f"{path} has {name} {json.dumps(found)}, not {json.dumps(ours)}: set "
                    f"{self.name}.{name}"
                )


def fitting_state(path: Path, spec: EncoderSpec) -> Mapping[str, Tensor]:
    """State of an encoder in downstream form, from a file of our names or torchvision's.

    Raises
    ------
    SchemaError
        If it fits neither.
    """
    import torch

    from stages.learning.encoders import build, load_state
    from stages.learning.encoders.resnet50 import one_branch
    from stages.learning.encoders.torchvision_weights import from_torchvision
    from storage_schemas.errors import ParameterError

    state = unwrapped(load_state(path))
    with torch.device("meta"):
        ours = {key: value.shape for key, value in build(spec).state_dict().items()}
    whole = one_branch(state, "global")
    if {key: value.shape for key, value in whole.items() if key in ours} == ours:
        return {key: whole[key] for key in ours}
    try:
        found = from_torchvision(spec.name, state)
    except (SchemaError, ParameterError) as error:
        raise SchemaError(
            f"{path} holds no encoder {spec.name!r} of width {spec.width}: its names and shapes "
            f"are not ours, and {error}; choose with --set given_encoder.encoder.name=NAME"
        ) from error
    wrong = [key for key, value in found.items() if value.shape != ours[key]]
    if wrong:
        raise SchemaError(f"{path}: {wrong[0]} has shape {tuple(found[wrong[0]].shape)}")
    return found


def unwrapped(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The weights alone, without what a training script packs around them."""
    for name in _WRAPPERS:
        inner = state.get(name)
        if isinstance(inner, Mapping):
            return unwrapped(inner)
    for prefix in _PREFIXES:
        if any(key.startswith(prefix) for key in state):
            return unwrapped(
                {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            )
    return state
