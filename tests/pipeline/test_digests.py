"""Unreadable files: told as a digest, quarantined by the stage that needs them."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.digests import Digests


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_permission_denied_is_the_cause(tmp_path: Path) -> None:
    path = tmp_path / "secret.mp4"
    path.write_text("x")
    path.chmod(0)
    code = (
        "import sys, os; from pathlib import Path; from pipeline.digests import Digests\n"
        "digests = Digests(Path(sys.argv[1]) / 'd.sqlite')\n"
        "os.setuid(65534)\n"
        "print(digests(Path(sys.argv[1]) / 'secret.mp4'))"
    )
    for folder in (tmp_path, *tmp_path.parents):
        if os.access(folder, os.W_OK) and str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "unreadable: Permission denied"


def test_many_runs_may_open_a_fresh_cache_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("a")

    def digest(_: int) -> str:
        digests = Digests(tmp_path / "d.sqlite")
        try:
            return digests(tmp_path / "a.mp4")
        finally:
            digests.close()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(digest, range(64)))) == 1
