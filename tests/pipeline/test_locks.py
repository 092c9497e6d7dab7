"""A lock is held by one, also while others remove its file."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.locks import lock_file

# Takes the lock again and again, and says if another is inside; every so often removes the file.
HAMMER = """
import os, random, sys, time
from pathlib import Path
from pipeline.locks import lock_file
path, inside, removes = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
generator, count, end = random.Random(int(sys.argv[4])), 0, time.monotonic() + 2
while time.monotonic() < end:
    with lock_file(path) as lock:
        os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # fails if another is inside
        if generator.random() < 0.1:
            time.sleep(0.001)
        os.unlink(inside)
        if generator.random() < removes:
            lock.remove()
    count += 1
print(count)
"""


def test_one_holds_a_lock_whose_file_is_removed_all_the_time(tmp_path: Path) -> None:
    path, inside = tmp_path / "a.lock", tmp_path / "inside"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMER, path, inside, str(removes), str(number)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number, removes in enumerate((0.0, 0.0, 0.3, 0.3, 1.0, 1.0))
    ]
    counts = [int(process.communicate()[0]) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    assert sum(counts) > 100, counts


def test_who_waits_for_a_removed_file_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    waiting, got = threading.Event(), threading.Event()

    def wait() -> None:
        with lock_file(path, on_wait=waiting.set) as lock:
            assert os.fstat(lock.descriptor).st_ino == path.stat().st_ino
            got.set()

    with lock_file(path) as lock:
        thread = threading.Thread(target=wait)
        thread.start()
        assert waiting.wait(10)
        lock.remove()
    assert got.wait(10)
    thread.join()
    assert path.exists()


def test_a_child_that_inherited_a_lock_keeps_it(tmp_path: Path) -> None:
    """So nobody else may remove its file, who asks for the lock as all do."""
    path = tmp_path / "a.lock"
    with lock_file(path) as lock:
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock.descriptor]
        )

    def refuse() -> None:
        raise BlockingIOError

    with pytest.raises(BlockingIOError), lock_file(path, on_wait=refuse) as other:
        other.remove()
    child.communicate(b"\n")
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
