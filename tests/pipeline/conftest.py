"""A store of each kind, for what both promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.store import Store, open_store


@pytest.fixture(params=["folder", "bucket"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return open_store(tmp_path / "store")
    return open_store(request.getfixturevalue("url"))
