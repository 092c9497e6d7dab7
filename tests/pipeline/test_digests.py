"""Unreadable files: told as a digest, quarantined by the stage that needs them."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.digests import Digests
from pipeline.found_file import FoundFile


def one(digests: Digests, path: Path) -> str:
    (digest,) = digests([FoundFile.at(path)])
    return digest


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_permission_denied_is_the_cause(tmp_path: Path) -> None:
    path = tmp_path / "secret.mp4"
    path.write_text("x")
    path.chmod(0)
    code = (
        "import sys, os; from pathlib import Path; from pipeline.digests import Digests\n"
        "from pipeline.found_file import FoundFile\n"
        "digests = Digests(Path(sys.argv[1]) / 'd.sqlite')\n"
        "os.setuid(65534)\n"
        "print(*digests([FoundFile.at(Path(sys.argv[1]) / 'secret.mp4')]))"
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
            return one(digests, tmp_path / "a.mp4")
        finally:
            digests.close()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(digest, range(64)))) == 1


def test_a_folder_of_images_has_one_digest_that_every_file_is_in(tmp_path: Path) -> None:
    folder = tmp_path / "17"
    folder.mkdir()
    for name in ("1.jpg", "2.jpg"):
        (folder / name).write_text(name)
    hashed: list[int] = []
    digests = Digests(tmp_path / "d.sqlite", on_hashed=lambda path, size: hashed.append(size))
    first = one(digests, folder)
    assert len(first) == 64
    (folder / ".DS_Store").write_text("hidden")
    assert one(digests, folder) == first
    assert hashed == [10]  # read once, in bytes of its files
    stat = (folder / "1.jpg").stat()
    (folder / "1.jpg").write_text("other")
    os.utime(folder / "1.jpg", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    changed = one(digests, folder)
    (folder / "2.jpg").rename(folder / "3.jpg")
    assert len({first, changed, one(digests, folder)}) == 3
    (folder / "4.jpg").symlink_to(tmp_path / "nowhere")
    assert one(digests, folder) == "unreadable: No such file or directory"
    digests.close()


def test_what_is_known_is_asked_for_in_few_queries(tmp_path: Path) -> None:
    for n in range(2000):
        (tmp_path / f"{n}.mp4").write_text(f"{n % 1000}")
    files = [FoundFile.at(tmp_path / f"{n}.mp4") for n in range(2000)]
    digests = Digests(tmp_path / "d.sqlite")
    first = digests(files)
    assert first[:1000] == first[1000:]
    assert len(set(first)) == 1000
    digests.close()
    digests = Digests(tmp_path / "d.sqlite")
    queries: list[str] = []
    digests._connection.set_trace_callback(queries.append)
    assert digests([*files, files[0]]) == [*first, first[0]]
    assert len([query for query in queries if "SELECT" in query]) == 3
    digests.close()


def test_what_was_read_before_an_interruption_is_kept(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_text(name)
    files = [FoundFile.at(tmp_path / name) for name in "abc"]

    def interrupt(place: str, size: int) -> None:
        if place.endswith("b"):
            raise KeyboardInterrupt

    digests = Digests(tmp_path / "d.sqlite", on_hashed=interrupt)
    with pytest.raises(KeyboardInterrupt):
        digests(files)
    digests.close()
    read: list[str] = []
    digests = Digests(tmp_path / "d.sqlite", on_hashed=lambda place, size: read.append(place))
    digests(files)
    assert read == [str(tmp_path / "c")]
    digests.close()
