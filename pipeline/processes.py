"""Child processes that never outlive the process they work for."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Protocol

_PR_SET_PDEATHSIG = 1


def ask_for_death_signal() -> None:
    """Have the kernel kill this process when its parent ends (Linux; a no-op elsewhere).

    Safe between fork and exec of a single-threaded parent.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def die_with_parent(parent: int) -> None:
    """`ask_for_death_signal`, and end at once if `parent` has ended before we could ask."""
    ask_for_death_signal()
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


class Stop(Protocol):
    """Tells that work is to end early; a `threading.Event` is one."""

    def is_set(self) -> bool:
        """Whether to end."""
        ...

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds; whether to end."""
        ...
