"""What a store needs of object storage: whole objects, listings, and creation that is exclusive.

Errors are told in our words: `StoreError` names the address and the remedy.
"""

from __future__ import annotations

import errno
import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pipeline.transient import PAUSES, is_of_network, retrying
from storage_schemas.errors import MissingDependency, StoreError

T = TypeVar("T")
R = TypeVar("R")

_SCHEME = "s3"
_PARALLEL = 32  # requests at a time
_BLOCK = 1 << 24  # bytes read at a time where a whole object would not fit


@dataclass(frozen=True)
class Listed:
    """What a listing says of an object; `etag` changes whenever its content does."""

    bytes: int
    etag: str
    modified: datetime


class Bucket:
    """Objects below ``s3://BUCKET/PREFIX``, by names relative to it.

    Endpoint, region and credentials come from the environment, from AWS's profiles or from
    fsspec's configuration (``~/.config/fsspec``).

    Parameters
    ----------
    url : str

    Attributes
    ----------
    patient : bool
        Whether requests are tried again when the network fails; set it once it has worked, so
        that a wrong address is told at once.

    Raises
    ------
    MissingDependency
        Without s3fs.
    StoreError
        If the address is none of a bucket.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.patient = False
        scheme, _, self._root = self.url.partition("://")
        if scheme != _SCHEME or not self._root:
            raise StoreError(
                f"{url!r} is no store: give a folder, or s3://BUCKET/PREFIX (other object storage "
                "by its S3 interface, with AWS_ENDPOINT_URL)"
            )
        try:
            import fsspec
            import s3fs  # noqa: F401 - fsspec's own message names no install line of ours
        except ImportError as error:
            raise MissingDependency(
                f"stores in a bucket need s3fs ({error}): pip install 'tubelet[s3]'"
            ) from error
        # A listing that is remembered would hide what other machines have written since.
        config = {"max_pool_connections": _PARALLEL}
        config |= fsspec.config.conf.get(_SCHEME, {}).get("config_kwargs", {})
        self._files: Any = fsspec.filesystem(
            _SCHEME, use_listings_cache=False, config_kwargs=config
        )

    def listing(self, prefix: str) -> dict[str, Listed]:
        """Objects whose names begin so, a request a thousand."""
        found = self._ask(lambda: self._files.find(self._root, prefix=prefix, detail=True))
        start = len(self._root) + 1
        return {
            path[start:]: Listed(info["size"], info["ETag"], info["LastModified"])
            for path, info in found.items()
        }

    def listings(self, prefixes: Sequence[str]) -> dict[str, Listed]:
        """`listing` of each prefix, together."""
        found: dict[str, Listed] = {}
        for listed in _each(self.listing, prefixes):
            found |= listed
        return found

    def read(self, name: str) -> bytes | None:
        """Content of an object; None if there is none."""
        # Several streams for one object would first ask how large it is.
        try:
            return self._ask(lambda: self._files.cat_file(self._path(name), max_concurrency=1))
        except FileNotFoundError:
            return None

    def read_all(self, names: Sequence[str]) -> list[bytes | None]:
        """`read` of each name."""
        return _each(self.read, names)

    def write(self, name: str, content: bytes) -> None:
        """Put an object, in the place of an older one."""
        self._ask(lambda: self._files.pipe_file(self._path(name), content))

    def create(self, name: str, content: bytes) -> bool:
        """Put an object if there is none of this name; False if there is.

        Of several that try at the same moment one succeeds. After a lost answer it may be
        our own that is there: compare what lies there with what was to be written.
        """
        try:
            self._ask(lambda: self._files.pipe_file(self._path(name), content, mode="create"))
        except FileExistsError:
            return False
        return True

    def upload(self, files: Mapping[str, Path]) -> None:
        """Put local files, several at a time."""

        def put(pair: tuple[str, Path]) -> None:
            name, path = pair
            self._ask(lambda: self._files.put_file(str(path), self._path(name)))

        _each(put, list(files.items()))

    def download(self, files: Mapping[str, Path]) -> None:
        """Get objects into local files, several at a time.

        Raises
        ------
        FileNotFoundError
            If one is not there.
        """

        def get(pair: tuple[str, Path]) -> None:
            name, path = pair
            self._ask(lambda: self._files.get_file(self._path(name), str(path)))

        _each(get, list(files.items()))

    def sha256(self, name: str) -> str:
        """SHA-256 of an object's content, read in large blocks."""

        def digest() -> str:
            with self._files.open(self._path(name), block_size=_BLOCK) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()

        return self._ask(digest)

    def remove(self, names: Sequence[str]) -> None:
        """Remove objects, those that are there."""
        _each(lambda name: self._ask(lambda: self._files.rm_file(self._path(name))), names)

    def creates_once(self) -> bool:
        """Whether `create` is exclusive here: some S3 services ignore the condition."""
        name = f"probe-{secrets.token_hex(8)}"
        try:
            return self.create(name, b"1") and not self.create(name, b"2")
        finally:
            self.remove([name])

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _ask(self, request: Callable[[], T]) -> T:
        """The answer to a request, which is tried again while its failure may pass.

        Raises
        ------
        FileNotFoundError, FileExistsError
            If the object, or the bucket, is not there; if a condition was not met.
        StoreError
            For all else.
        """

        def told() -> T:
            try:
                return request()
            except (FileNotFoundError, FileExistsError):
                raise
            except PermissionError as error:
                raise StoreError(
                    f"{self.url} refuses access ({error}): check AWS_PROFILE, or AWS_ACCESS_KEY_ID "
                    "and AWS_SECRET_ACCESS_KEY, and that they may list, read, write and delete"
                ) from error
            except Exception as error:  # botocore's are no OSErrors
                if _passes(error):
                    raise ConnectionAbortedError(errno.ECONNABORTED, str(error)) from error
                raise self._unusable(error) from error

        try:
            return retrying(told, what=self.url, pauses=PAUSES if self.patient else ())
        except ConnectionAbortedError as error:
            raise self._unusable(error.__cause__ or error) from error

    def _unusable(self, error: BaseException) -> StoreError:
        return StoreError(
            f"{self.url} cannot be used ({type(error).__name__}: {error}): check the address, "
            "AWS_ENDPOINT_URL, the region and the credentials"
        )


def _passes(error: BaseException) -> bool:
    """Whether it is the network, or S3 asks to repeat a conditional write that met another."""
    if is_of_network(error):
        return True
    response = getattr(error.__cause__, "response", None) or {}
    return response.get("Error", {}).get("Code") == "ConditionalRequestConflict"


def _each(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Results in order, several at a time."""
    if len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(min(_PARALLEL, len(items)), thread_name_prefix="bucket") as pool:
        return list(pool.map(function, items))
