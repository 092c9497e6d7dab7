"""``tubelet metrics``: numbers, the same again, and a number that was changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from pipeline.store import Store, describe_files
from stages.evaluate.scoring import accuracies, ranked, score
from storage_schemas.manifest import Manifest
from storage_schemas.metrics import Answers, MetricRow, Metrics
from workflows.cli import app

KEY = "knn-0123456789abcdef01234567"


def written(root: Path, metrics: Metrics, *, noun: str = Metrics.name) -> Store:
    store = Store(root)
    data = store.staging(KEY) / "data"
    data.mkdir()
    metrics.write(data)
    manifest = Manifest(
        key=KEY, stage="knn", stage_version=1, step="knn", noun=noun, noun_version=2,
        parameters={}, inputs={}, part=None, items=[], files=describe_files(data, {}),
    )  # fmt: skip
    with store.lock(KEY):
        store.commit(KEY, data, manifest)
    return store


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is folded, however narrow the terminal of the tests is."""
    monkeypatch.setattr("workflows.metrics.console", Console(width=200))


@pytest.fixture
def content() -> Metrics:
    rng = np.random.default_rng(0)
    labels = np.arange(12, dtype=np.int32) % 3
    answers = Answers(
        "kNN", "k=5", "pretrained", "test", [f"{i}.mp4" for i in range(12)], labels,
        *ranked(rng.random((12, 3))),
    )  # fmt: skip
    rows = score(answers, accuracies(3), version=1)
    rows.append(MetricRow("diagnostics", "random", "test", "uniformity", -2.5, 12, unit="number"))
    return Metrics(rows, [answers], ["a", "b", "c"])


def called(root: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["metrics", *arguments, "--store", str(root)])
    return result.exit_code, " ".join(result.output.split())


@pytest.mark.parametrize("what", ["knn", KEY, KEY[:10]])
def test_numbers_are_printed_and_computed_again(
    tmp_path: Path, content: Metrics, what: str
) -> None:
    written(tmp_path, content)
    status, text = called(tmp_path, what)
    assert status == 0
    assert KEY in text
    assert f"{content.rows[0].value:.4f}" in text
    status, text = called(tmp_path, what, "--recompute")
    assert status == 0
    assert "no answers" in text
    assert "3 numbers, 0 differ" in text


def test_a_number_that_its_answers_do_not_give_is_told(tmp_path: Path, content: Metrics) -> None:
    forged = [replace(content.rows[0], value=0.99), *content.rows[1:]]
    written(tmp_path, replace(content, rows=forged))
    status, text = called(tmp_path, "knn", "--recompute")
    assert status == 1
    assert "3 numbers, 1 differ" in text


def test_other_artifacts_hold_no_numbers(tmp_path: Path, content: Metrics) -> None:
    written(tmp_path, content, noun="features")
    result = CliRunner().invoke(app, ["metrics", KEY, "--store", str(tmp_path)])
    assert "holds features, not metrics" in str(result.exception)
