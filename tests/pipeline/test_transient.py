"""What is tried again, and what is not."""

from __future__ import annotations

import errno

import av
import pytest

from pipeline.transient import is_transient, retrying
from storage_schemas.errors import BadVideo

AWAY = OSError(errno.ESTALE, "Stale file handle")


def raised_from(cause: Exception) -> Exception:
    error = BadVideo("cannot be read")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (AWAY, True),
        (raised_from(AWAY), True),
        (OSError(errno.EIO, "Input/output error"), True),
        (av.FFmpegError(errno.EIO, "Input/output error"), False),
        (FileNotFoundError(errno.ENOENT, "gone"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (ValueError("broken"), False),
        (BadVideo("broken"), False),
    ],
)
def test_only_what_may_pass_is_transient(error: Exception, transient: bool) -> None:
    assert is_transient(error) == transient


@pytest.mark.parametrize(("failures", "calls"), [(0, 1), (2, 3), (9, 3)])
def test_a_call_has_as_many_attempts_as_there_are_pauses_and_one(failures: int, calls: int) -> None:
    made = []

    def call() -> str:
        made.append(0)
        if len(made) <= failures:
            raise AWAY
        return "done"

    if failures < 3:
        assert retrying(call, what="x", pauses=(0, 0)) == "done"
    else:
        with pytest.raises(OSError, match="Stale"):
            retrying(call, what="x", pauses=(0, 0))
    assert len(made) == calls


def test_what_is_wrong_with_a_file_is_not_tried_again() -> None:
    made = []

    def call() -> None:
        made.append(0)
        raise BadVideo("broken")

    with pytest.raises(BadVideo):
        retrying(call, what="x", pauses=(0, 0))
    assert len(made) == 1
