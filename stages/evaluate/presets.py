"""Whose views a protocol looks at; the values of the papers and of their code.

References
----------
specs/downstream.md sections 2-4 and the downstream sections of ctp.md, rspnet.md, fame.md,
constcl.md and previts.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pipeline.parameters import cited, cited_all

ViewsPreset = Literal[
    "none", "ctp", "ctp_ssv1", "vcop", "rspnet", "rspnet_ssv2", "s3dg", "constcl", "fame"
]

VIEWS: Mapping[str, Mapping[str, Any]] = {
    "ctp": cited_all(
        {
            "num_clips": 10, "num_frames": 16, "frame_stride": 2, "clip_rule": "uniform",
            "size": 112, "short_side": 128, "long_side": 171,
        },
        "CtP code: configs/recognizers",
    ),
    "ctp_ssv1": cited_all(
        {
            "num_clips": 1, "num_frames": 32, "frame_stride": 1, "clip_rule": "uniform",
            "size": 112, "short_side": 128,
        },
        "CtP code: runtime_ssv1",
    ),
    "vcop": cited_all(
        {
            "num_clips": 10, "num_frames": 16, "frame_stride": 1, "clip_rule": "even",
            "size": 112, "short_side": 128, "long_side": 171,
        },
        "VCOP code",
    ),
    "rspnet": cited_all(
        {"num_clips": 10, "num_frames": 16, "frame_stride": 1, "clip_rule": "even", "size": 112},
        "RSPNet code: retrieval.py, config/finetune",
    ),
    "rspnet_ssv2": cited_all(
        {"num_clips": 2, "num_frames": 16, "clip_rule": "cover", "size": 112},
        "RSPNet code: config/finetune/smth",
    ),
    # RSPNet's and PreViTS' S3D-G.
    "s3dg": cited_all(
        {"num_clips": 10, "num_frames": 64, "frame_stride": 1, "clip_rule": "even", "size": 224},
        "RSPNet code: config/finetune",
    ),
    "constcl": cited_all(
        {
            "num_clips": 10, "num_frames": 32, "frame_stride": 2, "clip_rule": "linspace",
            "size": 256, "num_crops": 3,
        },
        "ConST-CL supplement",
    ),
    "fame": cited_all(
        {
            "num_clips": 10, "num_frames": 16, "frame_stride": 2, "clip_rule": "linspace",
            "size": 112,
            "short_side": cited(128, "tubelet: the code cuts out of frames of unknown size"),
        },
        "FAME code: eval.py",
    ),
}  # fmt: skip
