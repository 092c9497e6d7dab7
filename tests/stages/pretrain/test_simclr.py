"""SimCLR is the contrast of clips and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.learning.clip_contrast import clip_loss
from stages.learning.encoder_spec import EncoderSpec
from stages.learning.encoders import build
from stages.learning.objective import Objective
from stages.pretrain.methods.simclr import SimCLR


def test_loss_is_that_of_the_projected_views() -> None:
    torch.manual_seed(0)
    method = SimCLR(num_frames=4, size=32, colour=False)
    objective = Objective(method, build(EncoderSpec(width=4))).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 32, 32, 3), dtype=np.uint8)
    first, second = torch.from_numpy(pixels)
    with torch.inference_mode():
        step = objective({"first": first, "second": second}, np.random.default_rng(0))
        clips = torch.cat([first, second]).permute(0, 4, 1, 2, 3) / 127.5 - 1
        vectors = objective.heads["projector"](objective.encoder(clips).mean((2, 3, 4)))
    loss, accuracy = clip_loss(vectors, temperature=0.1)
    assert float(step.loss) == pytest.approx(float(loss), rel=1e-5)
    assert step.metrics["clip_accuracy"] == accuracy
    assert not step.keep


def test_it_reads_frames_only() -> None:
    assert SimCLR().reads() == frozenset()
