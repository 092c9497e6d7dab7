"""Video encoders: (B, 3, T, H, W) float -> feature map (B, C, T', H', W').

One file a family of architectures. An encoder is built from an `EncoderSpec`; a method may
ask for another form of it for pretraining, whose weights load downstream.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, assert_never, get_args

import torch

from stages.learning.encoder_spec import EncoderName, EncoderSpec
from stages.learning.encoders import c3d, inception, resnet18, resnet50
from stages.learning.encoders.blocks import Encoder
from stages.learning.encoders.resnet50 import Branch, one_branch
from storage_schemas.encoders import EncoderFiles
from storage_schemas.errors import ParameterError, SchemaError


def build(spec: EncoderSpec, **options: int) -> Encoder:
    """A freshly initialised encoder; draws from torch's global generator.

    Parameters
    ----------
    spec : EncoderSpec
    **options
        The form that a method pretrains in: ``last_spatial_stride=1`` keeps the last map
        twice as wide (CtP), ``branches=2`` adds a last stage for regions (ConST-CL).
        Without, the encoder has its downstream form.

    Raises
    ------
    ParameterError
        If the encoder has no such option; names the encoders that have.
    """
    make = _maker(spec.name)
    for option, value in options.items():
        if option not in inspect.signature(make).parameters:
            able = [
                name
                for name in get_args(EncoderName)
                if option in inspect.signature(_maker(name)).parameters
            ]
            raise ParameterError(
                f"encoder.name is {spec.name!r}, which cannot be built with {option}={value}, as "
                f"the method asks; " + (f"choose from {able}" if able else "no encoder can")
            )
    return make(spec.width, **options)


def random_encoder(spec: EncoderSpec, *, seed: int, **options: int) -> Encoder:
    """Encoder, see `build`, with weights drawn from `seed`; global RNG untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(spec, **options)


def load_encoder(files: EncoderFiles, *, branch: Branch = "global") -> Encoder:
    """Trained encoder in downstream form; nothing is unpickled.

    Parameters
    ----------
    files : EncoderFiles
    branch : {"global", "region"}
        Which last stage of a two-branch pretraining to use: the one trained on whole clips
        for recognition, the one trained on regions for detection and tracking. Others have
        the global one only.

    Raises
    ------
    SchemaError
        If the weights do not fit the parameters beside them.
    """
    encoder = build(EncoderSpec.model_validate(files.parameters))
    state = one_branch(load_state(files.weights), branch)
    try:
        encoder.load_state_dict(state)
    except RuntimeError as error:
        raise SchemaError(f"{files.weights} does not fit {files.parameters}: {error}") from error
    return encoder


def load_state(path: Path) -> Mapping[str, Any]:
    """State dict of tensors; raises `SchemaError` for anything else."""
    try:
        state: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise SchemaError(f"{path} holds no plain state dict: {error}") from error
    return state


def _maker(name: EncoderName) -> Callable[..., Encoder]:
    """What builds the encoder of this name from a width and options."""
    match name:
        case "c3d":
            return c3d.C3D
        case "r3d18":
            return resnet18.r3d18
        case "r3d18_torchvision":
            return resnet18.r3d18_torchvision
        case "r3d18_hara":
            return resnet18.r3d18_hara
        case "r2plus1d18":
            return resnet18.r2plus1d18
        case "r2plus1d18_torchvision":
            return resnet18.r2plus1d18_torchvision
        case "r2plus1d_vcop":
            return resnet18.r2plus1d_vcop
        case "i3d":
            return inception.i3d
        case "s3d":
            return inception.s3d
        case "s3dg":
            return inception.s3dg
        case "s3dg_temporal":
            return inception.s3dg_temporal
        case "r3d50":
            return resnet50.r3d50
        case "resnet50":
            return resnet50.resnet50
        case _:
            assert_never(name)
