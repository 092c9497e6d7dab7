"""What an encoder is built from; free of torch, so that planning can read it."""

from __future__ import annotations

from typing import Literal

from pipeline.parameters import Parameters, constant

EncoderName = Literal[
    "r3d18",
    "r3d18_torchvision",
    "r3d18_hara",
    "r2plus1d18",
    "r2plus1d18_torchvision",
    "r2plus1d_vcop",
    "c3d",
    "i3d",
    "s3d",
    "s3dg",
    "s3dg_temporal",
    "r3d50",
    "resnet50",
]


class EncoderSpec(Parameters):
    """Parameters of an encoder.

    ``width`` is the number of channels of the first stage; 64 is the published size, smaller
    ones are for small machines, and all other channel numbers keep their proportion to it.

    ``name`` is one published form exactly:

    ========================== =================================================== ==========
    name                       form                                                parameters
    ========================== =================================================== ==========
    ``r3d18``                  R3D-18 of CtP (BN epsilon 1e-3)                     33,166,272
    ``r3d18_torchvision``      R3D-18 of torchvision (BN epsilon 1e-5)             33,166,272
    ``r3d18_hara``             ResNet-18 3D of Hara, in RSPNet                     33,203,904
    ``r2plus1d18``             R(2+1)D-18 of CtP                                   33,165,639
    ``r2plus1d18_torchvision`` R(2+1)D-18 of torchvision and FAME                  31,300,125
    ``r2plus1d_vcop``          R(2+1)D of VCOP, one block a stage, in RSPNet       14,365,303
    ``c3d``                    C3D with batch normalisation, in RSPNet             27,661,440
    ``i3d``                    I3D of FAME                                         12,287,264
    ``s3d``                    S3D of torchvision (no gates)                        7,910,048
    ``s3dg``                   S3D-G of RSPNet: its stem skips every second frame   8,675,744
    ``s3dg_temporal``          S3D-G with the published stem                        8,675,744
    ``r3d50``                  R3D-50 of ConST-CL (51,879,744 with two branches)   31,672,128
    ``resnet50``               ResNet-50, each frame by itself                     23,508,032
    ========================== =================================================== ==========
    """

    name: EncoderName = constant("r3d18", "CtP code: backbones/r3d.py")
    width: int = constant(64, "as published", ge=4, le=256)
