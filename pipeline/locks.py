"""A lock on a file that the kernel frees when its last holder dies.

The descriptor is inheritable: a child that is given it shares the lock, so work that
outlives a killed parent still keeps others away from the same key.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from storage_schemas.errors import Interrupted

_POLL_SECONDS = 0.1


class lock_file:
    """Exclusive lock, across processes and threads; a context manager.

    Parameters
    ----------
    path : Path
        Created if missing and never removed (removing a lock file is a race).

    Attributes
    ----------
    on_wait : callable or None
        Called once if another holder makes us wait.
    stop : threading.Event or None
        Ends the wait with `Interrupted`: a thread that the kernel holds hears of nothing.
    """

    def __init__(self, path: Path, *, on_wait: Callable[[], None] | None = None) -> None:
        self.path = path
        self.on_wait = on_wait
        self.stop: threading.Event | None = None
        self.descriptor = -1

    def __enter__(self) -> Self:
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self.on_wait:
                    self.on_wait()
                self._wait()
        except BaseException:
            os.close(self.descriptor)
            raise
        return self

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
