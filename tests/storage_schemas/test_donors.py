"""The manifest of donors comes back as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage_schemas.donors import DonorRow, Donors
from storage_schemas.errors import SchemaError


def test_round_trip(tmp_path: Path) -> None:
    rows = [
        DonorRow("Mixed-Same", "a/1.avi", "a", "a/2.avi", "a", 3, "video"),
        DonorRow("Mixed-Next", "a/1.avi", "a", "ü #1.avi", "b", 3, "video"),
    ]
    Donors(rows).write(tmp_path)
    assert list(Donors.open(tmp_path).rows) == rows
    assert Donors.open(tmp_path).box == "video"
    assert repr(Donors(rows)) == "Donors(2 rows)"


def test_boxes_are_of_one_kind() -> None:
    rows = [DonorRow("Mixed-Same", "a", "x", "b", "x", 0, box) for box in ("frame", "video")]
    with pytest.raises(SchemaError, match="boxes of one kind"):
        Donors(rows)


def test_nobody_is_their_own_donor() -> None:
    with pytest.raises(SchemaError, match="Mixed-Rand: its own donor"):
        Donors([DonorRow("Mixed-Rand", "a", "x", "a", "x", 0)])
