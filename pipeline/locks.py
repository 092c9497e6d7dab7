"""A lock on a file that the kernel frees when its last holder dies.

The descriptor is inheritable: a child that is given it shares the lock, so work that
outlives a killed parent still keeps others away from the same key.

A lock file may be removed, by who holds it and by no one else. So a file stays at its path for
as long as it is locked, and who gets a lock looks whether its file is still the one at the path:
if not, the file was removed while it waited, and it begins anew. Two that hold a path at the
same time would hold one file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.processes import Stop
from storage_schemas.errors import Interrupted

_POLL_SECONDS = 0.1


class lock_file:
    """Exclusive lock, across processes and threads; a context manager.

    Parameters
    ----------
    path : Path
        Created if missing; left there, but for `remove`.

    Attributes
    ----------
    on_wait : callable or None
        Called once if another holder makes us wait.
    stop : Stop or None
        Ends the wait with `Interrupted`: a thread that the kernel holds hears of nothing.
    """

    def __init__(self, path: Path, *, on_wait: Callable[[], None] | None = None) -> None:
        self.path = path
        self.on_wait = on_wait
        self.stop: Stop | None = None
        self.descriptor = -1

    def __enter__(self) -> Self:
        while True:
            self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                try:
                    fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if self.on_wait:
                        self.on_wait()
                    self._wait()
                if self._is_in_place():
                    return self
            except BaseException:
                os.close(self.descriptor)
                raise
            os.close(self.descriptor)

    def _is_in_place(self) -> bool:
        """Whether the file that is locked is the one at the path, and was not removed."""
        try:  # opened, for a network file system may remember names, but asks on opening
            there = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            return os.path.sameopenfile(self.descriptor, there)
        finally:
            os.close(there)

    def remove(self) -> None:
        """Remove the file; only while it is held, see the module docstring."""
        self.path.unlink(missing_ok=True)

    def _wait(self) -> None:
        if self.stop is None:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            return
        while not self.stop.wait(_POLL_SECONDS):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
        raise Interrupted("interrupted; run the same command again to resume")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self.descriptor)  # a child that inherited it keeps the lock until it ends
