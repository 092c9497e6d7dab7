"""Whose views a protocol looks at; the values of the papers and of their code.

References
----------
specs/downstream.md sections 2-4 and the downstream sections of ctp.md, rspnet.md, fame.md,
constcl.md and previts.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

ViewsPreset = Literal[
    "none", "ctp", "ctp_ssv1", "vcop", "rspnet", "rspnet_ssv2", "s3dg", "constcl", "fame"
]

VIEWS: Mapping[str, Mapping[str, Any]] = {
    "ctp": {
        "num_clips": 10, "num_frames": 16, "frame_stride": 2, "clip_rule": "uniform",
        "size": 112, "short_side": 128, "long_side": 171,
    },
    "ctp_ssv1": {
        "num_clips": 1, "num_frames": 32, "frame_stride": 1, "clip_rule": "uniform",
        "size": 112, "short_side": 128,
    },
    "vcop": {
        "num_clips": 10, "num_frames": 16, "frame_stride": 1, "clip_rule": "even",
        "size": 112, "short_side": 128, "long_side": 171,
    },
    "rspnet": {
        "num_clips": 10, "num_frames": 16, "frame_stride": 1, "clip_rule": "even", "size": 112,
    },
    "rspnet_ssv2": {
        "num_clips": 2, "num_frames": 16, "clip_rule": "cover", "size": 112,
    },
    # RSPNet's and PreViTS' S3D-G.
    "s3dg": {
        "num_clips": 10, "num_frames": 64, "frame_stride": 1, "clip_rule": "even", "size": 224,
    },
    "constcl": {
        "num_clips": 10, "num_frames": 32, "frame_stride": 2, "clip_rule": "linspace",
        "size": 256, "num_crops": 3,
    },
    # The released code cuts 112 pixels out of unresized frames.
    "fame": {
        "num_clips": 10, "num_frames": 16, "frame_stride": 2, "clip_rule": "linspace",
        "size": 112, "short_side": 128,
    },
}  # fmt: skip
