"""Videos on object storage, by their URLs: listed, digested, fetched one at a time.

All goes through fsspec, which is imported when the first URL is opened. Endpoint, region and
credentials come from where the service's own tools find them: for S3 ``AWS_ENDPOINT_URL``,
``AWS_PROFILE``, ``AWS_ACCESS_KEY_ID`` and the like, or fsspec's configuration.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field

from pipeline.store import file_sha256
from pipeline.transient import is_of_network, is_transient, retrying
from storage_schemas.errors import BadVideo, MissingDependency, SourceError
from storage_schemas.videos import UNREADABLE, VideoFile

T = TypeVar("T")

_SCHEME = "[a-z][a-z0-9+.-]*://"
Url = Annotated[str, Field(pattern=f"^{_SCHEME}")]

_BLOCK = 1 << 24  # bytes of a request
# What tells that an object changed, in the words of different services; one is enough.
_STAMPS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "updated", "mtime")


def is_url(place: str) -> bool:
    """Whether a place is on object storage, and no path."""
    return re.match(_SCHEME, place) is not None


def absolute(place: str) -> str:
    """A place that means the same in every process: a URL, or an absolute path."""
    return place if is_url(place) else str(Path(place).expanduser().absolute())


def find(url: str) -> dict[str, tuple[int, str]]:
    """Size and stamp of every object below a URL, by its path relative to it.

    One listing tells all, a request a thousand objects.

    Raises
    ------
    SourceError
        If the URL is that of one object, or there is no such bucket, no right, no network.
    MissingDependency
        If fsspec has no client for such URLs here.
    """
    files, root = _opened(url)
    try:
        found = _asked(lambda: files.find(root, detail=True), url)
    except FileNotFoundError as error:
        raise SourceError(f"{url} does not exist ({error}); check the bucket's name") from error
    except PermissionError as error:
        raise _denied(url, error) from error
    except OSError as error:
        raise _unusable(url, error) from error
    if root in found:
        raise SourceError(f"{url} is a file; give the folder that it lies in")
    start = len(root) + 1
    return {path[start:]: (info["size"], _stamp(info)) for path, info in found.items()}


def content_sha256(url: str, size: int) -> str:
    """Digest of an object, which is read once, block by block.

    Raises
    ------
    OSError
        If this one object cannot be read.
    SourceError
        If the service cannot be used.
    """
    files, path = _opened(url)
    digest = sha256()
    for start in range(0, size, _BLOCK):
        end = min(start + _BLOCK, size)
        digest.update(_asked(lambda: files.cat_file(path, start=start, end=end), url))  # noqa: B023
    return digest.hexdigest()


@contextmanager
def at_hand(video: VideoFile, work: Path) -> Iterator[VideoFile]:
    """The video with its file on this machine: an object is fetched, and removed afterwards.

    Raises
    ------
    BadVideo
        If the object is gone, or no longer what the scan read.
    SourceError
        If the service cannot be used, which is no fault of the video.
    """
    url = str(video.place)
    if not is_url(url) or video.digest.startswith(UNREADABLE):
        yield video
        return
    target = work / f"fetched{os.path.splitext(url)[1]}"  # what it is called says what it is
    try:
        _fetch(url, target)
        found = file_sha256(target)
        if found != video.digest:
            raise BadVideo(
                f"{url} has SHA-256 {found[:12]}…, not {video.digest[:12]}…: it changed since the "
                "run was planned; run again"
            )
        yield replace(video, place=target)
    finally:
        target.unlink(missing_ok=True)


def _fetch(url: str, target: Path) -> None:
    files, path = _opened(url)
    try:
        _asked(lambda: files.get_file(path, str(target)), url)
    except FileNotFoundError as error:
        raise BadVideo(f"{url} is gone; put it back, or run again without it") from error
    except PermissionError as error:  # the scan could read it
        raise _denied(url, error) from error


def read_text(url: str) -> str:
    """A small file's text; raises `OSError` if it is not there."""
    files, path = _opened(url)
    content: bytes = _asked(lambda: files.cat_file(path), url)
    return content.decode("utf-8-sig")


def _opened(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    import fsspec

    protocol = url.partition("://")[0]
    try:
        kind = fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        remedy = "pip install 'tubelet[s3]'" if protocol == "s3" else "install what it names"
        raise MissingDependency(
            f"{url} cannot be read without a package that is missing ({error}): {remedy}"
        ) from error
    except ValueError as error:
        raise SourceError(
            f"{url} cannot be read: {error}; give a folder or s3://BUCKET/FOLDER"
        ) from error
    # A remembered listing would hide what came since, in a process that serves for days.
    options = {"use_listings_cache": False, **kind._get_kwargs_from_urls(url)}
    return fsspec.filesystem(protocol, **options), kind._strip_protocol(url)


def _asked(request: Callable[[], T], url: str) -> T:
    """The answer to a request, which is tried again while its failure may pass."""

    def told() -> T:
        try:
            return request()
        except Exception as error:
            if is_transient(error):
                raise
            if is_of_network(error):
                raise ConnectionAbortedError(errno.ECONNABORTED, str(error)) from error
            if isinstance(error, OSError):
                raise
            raise _unusable(url, error) from error

    try:
        return retrying(told, what=url)
    except OSError as error:
        if not is_transient(error):
            raise
        raise SourceError(
            f"{url} cannot be reached ({error}); check the network and AWS_ENDPOINT_URL, then run "
            "the same command again to resume"
        ) from error


def _stamp(info: dict[str, Any]) -> str:
    found = next((name for name in _STAMPS if info.get(name) is not None), None)
    return f"{found} {info[found]}" if found else ""


def _denied(url: str, error: Exception) -> SourceError:
    return SourceError(
        f"{url} may not be read ({error}); check AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, on the machine that reads it"
    )


def _unusable(url: str, error: Exception) -> SourceError:
    return SourceError(
        f"{url} cannot be used ({type(error).__name__}: {error}); check the address, "
        "AWS_ENDPOINT_URL, the region and the credentials"
    )
