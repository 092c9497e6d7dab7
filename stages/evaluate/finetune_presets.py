"""The papers' recipes of fine-tuning and of the linear probe with augmentation.

What is published, and what had to be chosen, stands in docs/evaluation.md.

References
----------
specs/downstream.md sections 2-3; ctp.md 6a-6b; rspnet.md 5a-5b; constcl.md 6; fame.md 6a-6b;
previts.md 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pipeline.parameters import cited, cited_all
from stages.evaluate.presets import VIEWS

Values = dict[str, Any]
FinetunePreset = Literal[
    "none",
    "ctp",
    "ctp_ssv1",
    "rspnet_ucf101_c3d",
    "rspnet_ucf101_r3d18",
    "rspnet_ucf101_r2plus1d",
    "rspnet_ucf101_s3dg",
    "rspnet_hmdb51_c3d",
    "rspnet_hmdb51_r3d18",
    "rspnet_hmdb51_r2plus1d",
    "rspnet_hmdb51_s3dg",
    "rspnet_ssv2",
    "rspnet_ssv2_s3dg",
    "previts_ucf101_s3dg",
    "previts_hmdb51_s3dg",
    "previts_jhmdb_s3dg",
    "previts_mini_kinetics200_s3dg",
    "constcl_ucf101",
    "constcl_hmdb51",
    "constcl_linear_ucf101",
    "constcl_linear_hmdb51",
    "constcl_linear_k400",
    "fame_ucf101",
    "fame_hmdb51",
    "fame_linear",
]


def _ctp() -> Values:
    return {
        "clips": {
            "num_frames": 16,
            "frame_stride": 2,
            "sampling": "clamped",
            "size": 112,
            "crop": "stretched",
            "short_sides": (112, 128, 144),
            "flip_probability": 0.35,
            "ctp_colour": True,
        },
        "head": {"dropout": 0.5, "initial_std": 0.001},
        "optimisation": {
            "epochs": 150,
            "batch_size": 32,
            "learning_rate": 0.01,
            "weight_decay": 5e-4,
            "schedule": "step",
            "milestones": (60, 120),
            "gradient_clip": 40.0,
        },
    }


def _ctp_ssv1() -> Values:
    values = _ctp()
    values["clips"] |= {
        "num_frames": 32,
        "frame_stride": 1,
        "crop": "scaled",
        "flip_probability": 0.0,
    }
    values["optimisation"] |= {
        "epochs": 90,
        "milestones": (40, 60, 80),
        "warmup_steps": 1000,
        "warmup_from": 0.1,
    }
    return values


def _rspnet(*, batch: int, rate: float, epochs: int = 30, **optimisation: Any) -> Values:
    return {
        "clips": {"num_frames": 16, "frame_stride": 1, "size": 112, "area": (0.25, 1.0)},
        "head": {"dropout": 0.0},
        "optimisation": {
            "epochs": epochs,
            "batch_size": batch,
            "learning_rate": rate,
            "weight_decay": 1e-4,
            "schedule": "cosine",
            "floor": 1e-3,
            "gradient_clip": None,
            **optimisation,
        },
        "selection": "best_on_test",
        "evaluate_every": 1,
    }


def _rspnet_s3dg(*, rate: float = 0.005) -> Values:
    values = _rspnet(batch=8, rate=rate, epochs=50)
    values["clips"] |= {"num_frames": 64, "size": 224}
    values["head"] = {"dropout": 0.5}
    return values


def _rspnet_ssv2(*, batch: int, size: int = 112, dropout: float = 0.0) -> Values:
    values = _rspnet(
        batch=batch, rate=0.01, epochs=50, schedule="step", milestones=(20, 40), floor=0.0
    )
    values["clips"] |= {"sampling": "cover", "size": size, "flip_probability": 0.0}
    values["head"] = {"dropout": dropout}
    return values


def _constcl(*, rate: float, steps_per_epoch: int, **more: Any) -> Values:
    return {
        "clips": {
            "num_frames": 32,
            "frame_stride": 2,
            "size": 224,
            "area": (0.3, 1.0),
            "aspect": (0.5, 2.0),
            "log_aspect": False,
        },
        "head": {"dropout": 0.5},
        "optimisation": {
            "epochs": 50,
            "batch_size": 128,
            "learning_rate": rate,
            "weight_decay": 1e-5,
            "schedule": cited("cosine", "CVRL code"),
            "by_step": cited(True, "CVRL code"),
            "warmup_steps": cited(5 * steps_per_epoch, "CVRL code: 5 epochs"),
            "gradient_clip": None,
            **more,
        },
    }


def _constcl_linear(*, rate: float, steps_per_epoch: int, **more: Any) -> Values:
    values = _constcl(rate=rate, steps_per_epoch=steps_per_epoch, **more)
    values["optimisation"]["weight_decay"] = 0.0
    return values | {"head": {"dropout": 0.0, "normalise": True}, "frozen": True}


def _fame(*, dropout: float) -> Values:
    return {
        "clips": {
            "num_frames": 16,
            "frame_stride": 2,
            "size": 112,
            "area": (0.2, 1.0),
            "colour_law": {
                "jitter_probability": 0.8,
                "blur_probability": cited(0.0, "FAME code: none; the supplement has 0.5"),
            },
        },
        "head": {"dropout": dropout, "initial_std": 0.01},
        "optimisation": {
            "epochs": 150,
            "batch_size": 128,
            "learning_rate": 0.025,
            "weight_decay": 1e-4,
            "schedule": "step",
            "milestones": (60, 120),
            "gradient_clip": None,
        },
        "selection": "best_on_test",
        "evaluate_every": 10,
    }


def _fame_linear() -> Values:
    values = _fame(dropout=0.0)
    values["clips"]["colour_law"] = None
    values["head"] |= {"normalise": True}
    values["optimisation"] |= {
        "epochs": 100,
        "learning_rate": 5.0,
        "weight_decay": 0.0,
        "milestones": (60, 80),
    }
    return values | {"frozen": True}


_RECIPES: Mapping[str, Values] = {
    "ctp": _ctp(),
    "ctp_ssv1": _ctp_ssv1(),
    # Batches are of two devices, as the released instructions have; R(2+1)D's of four, with
    # which its authors reached the published number.
    "rspnet_ucf101_c3d": _rspnet(batch=40, rate=0.005),
    "rspnet_ucf101_r3d18": _rspnet(batch=64, rate=0.1),
    "rspnet_ucf101_r2plus1d": _rspnet(batch=32, rate=0.1),
    "rspnet_ucf101_s3dg": _rspnet_s3dg(),
    "rspnet_hmdb51_c3d": _rspnet(
        batch=12, rate=0.005, epochs=100, schedule="step", milestones=(50, 70, 90), floor=0.0
    ),
    # Its milestones lie after its end: the rate is constant.
    "rspnet_hmdb51_r3d18": _rspnet(
        batch=128, rate=0.01, schedule="step", milestones=(50, 70, 90), floor=0.0
    ),
    "rspnet_hmdb51_r2plus1d": _rspnet(batch=32, rate=0.1),
    "rspnet_hmdb51_s3dg": _rspnet_s3dg(),
    "rspnet_ssv2": _rspnet_ssv2(batch=64),
    "rspnet_ssv2_s3dg": _rspnet_ssv2(batch=32, size=224, dropout=0.5),
    "previts_ucf101_s3dg": _rspnet_s3dg(rate=0.05),
    "previts_hmdb51_s3dg": _rspnet_s3dg(),
    "previts_jhmdb_s3dg": _rspnet_s3dg(),
    "previts_mini_kinetics200_s3dg": _rspnet_s3dg(),
    "constcl_ucf101": _constcl(rate=0.72, steps_per_epoch=74),
    "constcl_hmdb51": _constcl(rate=0.84, steps_per_epoch=27),
    "constcl_linear_ucf101": _constcl_linear(rate=0.84, steps_per_epoch=74),
    "constcl_linear_hmdb51": _constcl_linear(rate=0.84, steps_per_epoch=27),
    "constcl_linear_k400": _constcl_linear(
        rate=32.0, steps_per_epoch=230, epochs=100, batch_size=1024
    ),
    "fame_ucf101": _fame(dropout=0.7),
    "fame_hmdb51": _fame(dropout=0.5),
    "fame_linear": _fame_linear(),
}


_SOURCES = {
    "ctp": "CtP code: configs/recognizers",
    "rspnet": "RSPNet code: config/finetune",
    "previts": "PreViTS code: config",
    "constcl": "ConST-CL supplement",
    "fame": "FAME supplement",
}

FINETUNE: Mapping[str, Mapping[str, Any]] = {
    name: cited_all(values, _SOURCES[name.partition("_")[0]]) for name, values in _RECIPES.items()
}


def _views_of(preset: str) -> Mapping[str, Any]:
    """Views and average of the test that belongs to a recipe of training."""
    if preset.startswith("constcl"):
        return {**VIEWS["constcl"], "average": cited("softmax", "tubelet: the paper does not say")}
    if preset.startswith("fame"):
        return VIEWS["fame"]
    if preset == "rspnet_ssv2_s3dg":
        return {**VIEWS["rspnet_ssv2"], "size": cited(224, "RSPNet code: config/finetune")}
    if preset.endswith("s3dg"):
        return VIEWS["s3dg"]
    if preset == "rspnet_hmdb51_r3d18":
        return {**VIEWS["rspnet"], "num_clips": cited(3, "RSPNet code: config/finetune")}
    return VIEWS[preset if preset in VIEWS else "rspnet"]


RECOGNISE: Mapping[str, Mapping[str, Any]] = {
    preset: {
        "average": cited("logits", _SOURCES[preset.partition("_")[0]]),
        **_views_of(preset),
    }
    for preset in FINETUNE
}
