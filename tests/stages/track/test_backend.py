from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.keys import artifact_key
from stages.track.backend import Backend
from stages.track.track import Track
from storage_schemas.errors import ParameterError


def test_the_back_ends_are_found_by_name() -> None:
    assert Backend.names() == ["features", "motion", "saliency"]


def test_the_back_end_and_its_parameters_are_in_the_key(tmp_path: Path) -> None:
    weights = tmp_path / "encoder.pt"
    weights.write_bytes(b"one")
    features = {"name": "features", "weights": str(weights)}
    choices: list[object] = [
        "motion",
        {"name": "motion", "min_motion": 0.2},
        "saliency",
        {"name": "saliency", "algorithm": "fine_grained"},
        features,
        features | {"stride": 8},
    ]
    keys = [artifact_key(Track(backend=one), {}) for one in choices]  # type: ignore[arg-type]
    weights.write_bytes(b"two")
    keys.append(artifact_key(Track(backend=features), {}))  # type: ignore[arg-type]
    assert len(set(keys)) == len(choices) + 1


def test_an_unknown_back_end_is_told_with_the_nearest() -> None:
    with pytest.raises(ParameterError, match="did you mean 'motion'"):
        Track(backend="motoin")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["motion", "saliency"])
def test_only_the_chosen_back_end_is_loaded(name: str) -> None:
    code = (
        "import sys; from stages.track.track import Track; "
        f"Track(backend={name!r}); "
        "print([m for m in ('torch', 'stages.learning', 'stages.track.backends.features', "
        f"'stages.track.backends.{'saliency' if name == 'motion' else 'motion'}') "
        "if m in sys.modules and m != 'stages.track.backends.motion'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
