"""Weights from and to torchvision's models of the same architecture.

``r3d_18``, ``r2plus1d_18``, ``s3d`` and ``resnet50`` have twins here. Only names differ, and
the two-dimensional kernels of ``resnet50``; classifiers are left behind. torchvision itself is
not needed. CtP's ``r3d18`` takes the weights of ``r3d_18``, but normalises with another
epsilon, so that its maps differ slightly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from stages.learning.encoder_spec import EncoderName, EncoderSpec
from stages.learning.encoders import build
from storage_schemas.errors import ParameterError, SchemaError

_CLASSIFIERS = ("fc.", "classifier.")


def from_torchvision(name: EncoderName, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of the encoder `name` from that of its twin, with or without classifier.

    Raises
    ------
    ParameterError
        If the encoder has no twin.
    SchemaError
        If the state is not that of the twin.
    """
    with torch.device("meta"):
        ours = build(EncoderSpec(name=name)).state_dict()
    theirs = {torchvision_key(name, key): key for key in ours}
    given = {key for key in state if not key.startswith(_CLASSIFIERS)}
    if given != theirs.keys():
        missing, unknown = sorted(theirs.keys() - given), sorted(given - theirs.keys())
        raise SchemaError(
            f"not the state of torchvision's twin of {name!r}: {len(missing)} entries are missing "
            f"{missing[:3]}, {len(unknown)} are unknown {unknown[:3]}"
        )
    return {
        key: state[their].unsqueeze(2) if ours[key].ndim == state[their].ndim + 1 else state[their]
        for their, key in theirs.items()
    }


def to_torchvision(name: EncoderName, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Inverse of `from_torchvision`; load it with ``strict=False``, it has no classifier."""
    flat = name == "resnet50"
    return {
        torchvision_key(name, key): value.squeeze(2) if flat and value.ndim == 5 else value
        for key, value in state.items()
    }


def torchvision_key(name: EncoderName, key: str) -> str:
    """What torchvision calls an entry of our state dict."""
    match name:
        case "s3d":
            return key
        case "r3d18" | "r3d18_torchvision" | "r2plus1d18_torchvision":
            key = re.sub(r"\bconv(\d)\.", r"conv\1.0.", key)
            key = re.sub(r"\bbn(\d)\.", r"conv\1.1.", key)
        case "resnet50":
            key = key.replace("stem.0.", "conv1.").replace("stem.1.", "bn1.")
        case _:
            raise ParameterError(
                f"encoder {name!r} has no twin in torchvision; those of 'r3d18', "
                "'r3d18_torchvision', 'r2plus1d18_torchvision', 's3d' and 'resnet50' are "
                "r3d_18, r3d_18, r2plus1d_18, s3d and resnet50"
            )
    key = re.sub(r"^stages\.(\d)", lambda match: f"layer{int(match[1]) + 1}", key)
    return key.replace("shortcut.", "downsample.")
