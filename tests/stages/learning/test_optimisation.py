"""Schedules on the worked numbers of the papers' recipes."""

from __future__ import annotations

import pytest

from stages.learning.optimisation import Optimisation

STEPS = 10  # of an epoch


def rates(optimisation: Optimisation, *epochs: int) -> list[float]:
    return [optimisation.rate_at(e * STEPS, steps_per_epoch=STEPS) for e in epochs]


def test_steps_of_ctp() -> None:
    ctp = Optimisation()
    assert rates(ctp, 0, 99, 100, 199, 200, 299) == pytest.approx(
        [0.01, 0.01, 0.001, 0.001, 1e-4, 1e-4]
    )
    assert ctp.rate_at(100 * STEPS - 1, steps_per_epoch=STEPS) == pytest.approx(0.01)


def test_cosine_of_rspnet_with_linear_scaling_and_a_floor() -> None:
    rspnet = Optimisation(
        epochs=200, batch_size=256, learning_rate=0.1, rate_per=64, schedule="cosine", floor=1e-3
    )
    assert rates(rspnet, 0, 50, 100, 150, 199) == pytest.approx(
        [0.4, 0.34148, 0.2002, 0.05892, 0.000425], abs=5e-6
    )
    # Within an epoch the rate stands still.
    assert rspnet.rate_at(50 * STEPS + 9, steps_per_epoch=STEPS) == rates(rspnet, 50)[0]


@pytest.mark.parametrize(
    ("rate", "batch", "expected"),
    [(0.1, 128, 0.2), (0.1, 256, 0.4), (0.05, 128, 0.1), (0.05, 256, 0.2)],
    ids=["rspnet c3d", "rspnet resnet18", "rspnet r2plus1d", "rspnet s3dg, previts video"],
)
def test_published_rates_for_every_64_videos(rate: float, batch: int, expected: float) -> None:
    scaled = Optimisation(learning_rate=rate, batch_size=batch, rate_per=64)
    assert scaled.peak_rate == pytest.approx(expected)


def test_defaults_are_those_of_ctp_on_ucf101() -> None:
    ctp = Optimisation()
    assert (ctp.learning_rate, ctp.momentum, ctp.weight_decay) == (0.01, 0.9, 1e-4)
    assert (ctp.batch_size, ctp.epochs, ctp.gradient_clip) == (32, 300, 40.0)
    assert (ctp.schedule, ctp.milestones, ctp.decay) == ("step", (100, 200), 0.1)
    assert (ctp.rate_per, ctp.warmup_steps, ctp.decay_kernels_only) == (None, 0, False)


def test_cosine_of_fame_and_previts() -> None:
    fame = Optimisation(epochs=200, learning_rate=0.01, schedule="cosine")
    assert rates(fame, 0, 50, 100, 150, 199) == pytest.approx(
        [0.01, 0.0085355, 0.005, 0.0014645, 6e-7], abs=5e-8
    )
    previts = Optimisation(epochs=200, learning_rate=0.3, schedule="cosine", floor=1e-3)
    assert rates(previts, 0, 50, 100, 150, 199) == pytest.approx(
        [0.3, 0.25611, 0.15015, 0.04419, 0.000318], abs=5e-6
    )


def test_warm_up_of_constcl_rises_to_the_cosine() -> None:
    steps_per_epoch = 2000
    constcl = Optimisation(
        epochs=100, learning_rate=40.96, schedule="cosine", by_step=True, warmup_steps=2500
    )
    steps = (0, 1250, 2499, 2500, 50_000, 100_000, 150_000, 200_000)
    found = [constcl.rate_at(step, steps_per_epoch=steps_per_epoch) for step in steps]
    assert found == pytest.approx(
        [0, 20.472105, 40.927833, 40.944211, 34.961547, 20.48, 5.998453, 0], abs=1e-5
    )


def test_warm_up_may_begin_above_zero() -> None:
    rising = Optimisation(learning_rate=0.01, warmup_steps=1000, warmup_from=0.1)
    assert rising.rate_at(0, steps_per_epoch=1000) == pytest.approx(0.001)
    assert rising.rate_at(500, steps_per_epoch=1000) == pytest.approx(0.0055)
