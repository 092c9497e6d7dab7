"""Failures that pass by themselves: a network file system that is away for a moment.

They are tried again after a pause, in place, so that no video is blamed for them; whatever
a file *holds* never counts.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

PAUSES = (0.5, 2.0, 10.0)  # seconds before the second, third and fourth attempt
_ERRNOS = frozenset(
    getattr(errno, name)
    for name in (
        "EIO", "ESTALE", "EAGAIN", "EBUSY", "EINTR", "ETIMEDOUT", "ECONNRESET", "ECONNREFUSED",
        "ECONNABORTED", "EPIPE", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH",
        "ENETRESET", "EREMOTEIO", "ENOLINK",
    )
    if hasattr(errno, name)
)  # fmt: skip

# What botocore and aiohttp call failures of the network, which have no number of an OSError.
_NETWORK = frozenset({
    "ConnectionError", "HTTPClientError", "TimeoutError", "ResponseParserError", "IncompleteRead",
    "ClientConnectionError", "ClientPayloadError",
})  # fmt: skip

logger = logging.getLogger("tubelet.transient")


def is_transient(error: BaseException | None) -> bool:
    """Whether the error, or one that it was raised from, is of input and output and may pass.

    FFmpeg says EIO also of files that are broken: from PyAV it does not count.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _ERRNOS:
            return error.errno != errno.EIO or not type(error).__module__.startswith("av.")
        error = error.__cause__
    return False


def is_of_network(error: BaseException) -> bool:
    """Whether a client of object storage, or of HTTP, says that the network failed."""
    return not _NETWORK.isdisjoint(kind.__name__ for kind in type(error).__mro__)


def retrying(call: Callable[[], T], *, what: str, pauses: Sequence[float] = PAUSES) -> T:
    """The result of `call`, which is tried again after each pause while its failure is transient.

    Raises
    ------
    Exception
        The last one, or the first that is not transient.
    """
    for pause in pauses:
        try:
            return call()
        except Exception as error:
            if not is_transient(error):
                raise
            logger.warning("%s: %s; trying again in %g s", what, error, pause)
        time.sleep(pause)
    return call()
