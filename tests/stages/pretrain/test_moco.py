"""MoCo: its constants."""

from __future__ import annotations

from stages.pretrain.methods.moco import MoCo


def test_constants_are_those_of_fames_baseline() -> None:
    """fame.md sections 2 and 4."""
    assert MoCo().model_dump() == {
        "name": "moco",
        "version": MoCo.version,
        "num_frames": 16,
        "frame_stride": 2,
        "size": 112,
        "crop_area": (0.2, 1.0),
        "contrast": {
            "dim": 128, "hidden": 512, "temperature": 0.1, "momentum": 0.999,
            "queue_size": 16384, "symmetric": True, "reread_queue": False,
        },
        "colour": True,
        "colour_law": {
            "jitter_probability": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4,
            "hue": 0.1, "contrast_around": "luma", "grey_probability": 0.2, "grey_first": True,
            "blur_probability": 0.5, "blur_sigma": (0.1, 2.0), "blur_taps": None,
            "solarise_probability": 0.0,
        },
        "mean": (0.43216, 0.394666, 0.37645),
        "std": (0.22803, 0.22145, 0.216989),
    }  # fmt: skip
