"""The artifact store in a bucket, for machines that share no disk.

::

    store.json                                        format and identity of the store
    artifacts/<stage>/<key>/<upload>/…                data files, under a name of this upload only
    artifacts/<stage>/<key>/manifest.json             written last, and only if there is none
    runs/, pins/, allowed.json, ledger/<lines>.jsonl  `pipeline.object_documents`

A bucket has no rename, and a lock of one machine means nothing on another. So whoever computes
a key uploads under a name that nobody else has, and then creates the manifest, which says which
upload counts. Of two, S3 lets one create it; the other takes away its upload and has the
winner's artifact. What is staged, locks, digests and copies of what was read lie in a folder of
this machine, the *scratch*; it may be deleted whenever nothing runs.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import hexdigits

from pipeline.bucket import Bucket, Listed
from pipeline.manifest_cache import ManifestCache
from pipeline.object_documents import ObjectDocuments
from pipeline.store import (
    STORE_FORMAT,
    Store,
    check_format,
    file_sha256,
    folder_bytes,
    raise_if_full,
)
from storage_schemas.errors import StoreError
from storage_schemas.manifest import MANIFEST_NAME, Manifest, read_content

_MARKER = "store.json"
_FEW = 16  # keys of a stage that are listed one by one, not with the whole stage
_MANY = 1000  # keys of a stage that are listed in several pieces
_ABANDONED = timedelta(days=1)  # age of an upload that no manifest names, and nobody finishes
_UNUSED = timedelta(days=7)  # age of a local copy that `gc` removes


@dataclass(frozen=True)
class _Known:
    """A manifest, the upload that it names, and the ETag it was read under."""

    etag: str
    upload: str
    manifest: Manifest


@dataclass
class _Found:
    """What a listing says of a key: its manifest, and the files of each upload."""

    manifest: Listed | None = None
    uploads: dict[str, dict[str, Listed]] = field(default_factory=dict)


class ObjectStore(Store):
    """A store in a bucket, created on first use.

    Parameters
    ----------
    url : str
        ``s3://BUCKET/PREFIX``. ``TUBELET_SCRATCH`` chooses where the scratch folders of this
        machine lie; by default below the user's cache folder.

    Raises
    ------
    MissingDependency
        Without s3fs.
    StoreError
        If the bucket cannot be used, or a newer tubelet wrote the store.
    """

    def __init__(self, url: str) -> None:
        self._bucket = Bucket(url)
        identity = _identify(self._bucket)
        self._bucket.patient = True
        try:
            super().__init__(_scratch_base() / f"{_readable(self._bucket.url)}-{identity}")
        except StoreError as error:
            raise StoreError(
                f"the scratch folder of {url} cannot be used: set TUBELET_SCRATCH ({error.message})"
            ) from error
        self.documents = ObjectDocuments(self._bucket)
        self._cache = ManifestCache(self.root / "manifests.sqlite")
        self._known: dict[str, _Known] = {}

    def __repr__(self) -> str:
        return f"ObjectStore({self.location!r})"

    @property
    def location(self) -> str:
        return self._bucket.url

    def place(self, key: str, name: str = "") -> str:
        folder = f"{self._bucket.url}/{_prefix(key)}"
        if not name:
            return folder
        self.read_manifest(key)
        return f"{folder}/{self._known[key].upload}/{name}"

    def creates_once(self) -> bool:
        return self._bucket.creates_once()

    # Reading -------------------------------------------------------------------------------

    def folders(self, keys: Sequence[str]) -> list[Path]:
        return self._fetched(keys, None)

    def file(self, key: str, name: str) -> Path | None:
        if name not in self.read_manifest(key).files:
            return None
        return self._fetched([key], name)[0] / name

    def _fetched(self, keys: Sequence[str], only: str | None) -> list[Path]:
        """Local folders with all files of the artifacts, or with one of them."""
        try:
            for last in (False, True):
                manifests = self.read_manifests(keys)
                names = {m.key: [only] if only else list(m.files) for m in manifests}
                try:
                    self._fetch([(key, name) for key in names for name in names[key]])
                    break
                except FileNotFoundError as error:
                    if last:
                        raise StoreError(
                            f"{self.location} lacks {error}, which a manifest names; `tubelet "
                            "verify` finds what is damaged"
                        ) from error
                    for key in keys:  # computed anew since we read what it consists of
                        self._known.pop(key, None)
        except (StoreError, OSError) as error:
            raise_if_full(error.__cause__ or error, self.root)
            raise
        return [self._copy(key) for key in keys]

    def _copy(self, key: str) -> Path:
        """Where files of the artifact lie on this machine, those that were fetched."""
        folder = self._folder(key) / self._known[key].upload
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)  # `copies` asks when it was last used
        return folder

    def _fetch(self, files: Sequence[tuple[str, str]]) -> None:
        """Download those files that this machine lacks; each is there whole or not at all."""
        missing: dict[str, Path] = {}
        entries = {}
        for key, name in files:
            known = self._known[key]
            path = self._folder(key) / known.upload / name
            entry = known.manifest.files[name]
            if not path.exists() or path.stat().st_size != entry.bytes:
                remote = f"{_prefix(key)}/{known.upload}/{name}"
                missing[remote], entries[remote] = path, entry
        if not missing:
            return
        temporary = {}
        for remote, path in missing.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary[remote] = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        try:
            self._bucket.download(temporary)
            for remote, path in temporary.items():
                found, entry = file_sha256(path), entries[remote]
                if found != entry.sha256:
                    raise StoreError(
                        f"{self.location}/{remote} has sha256 {found[:12]}…, not "
                        f"{entry.sha256[:12]}…; `tubelet verify --discard` removes the artifact"
                    )
                os.replace(path, missing[remote])
        finally:
            for path in temporary.values():
                path.unlink(missing_ok=True)

    def read_manifests(self, keys: Sequence[str]) -> list[Manifest]:
        new = [key for key in keys if key not in self._known]
        if new:
            self._load(self._look(new))
        for key in new:
            if key not in self._known:
                raise self._no_artifact(key)
        return [self._known[key].manifest for key in keys]

    def damages(self, keys: Sequence[str]) -> dict[str, str | None]:
        found = self._look(keys)
        self._load(found)
        return {key: self._difference(key, found[key]) for key in keys}

    def _difference(self, key: str, found: _Found) -> str | None:
        known = self._known.get(key)
        if found.manifest is None or known is None:  # None: removed since it was listed
            return "absent"
        there = found.uploads.get(known.upload, {})
        for name, entry in known.manifest.files.items():
            if name not in there:
                return f"{name} is missing"
            if there[name].bytes != entry.bytes:
                return f"{name} has {there[name].bytes} bytes, not {entry.bytes}"
        return None

    def _look(self, keys: Sequence[str]) -> dict[str, _Found]:
        """What the bucket holds of these keys now: listings, a request a thousand objects."""
        by_stage: dict[str, list[str]] = {}
        for key in keys:
            by_stage.setdefault(key.rpartition("-")[0], []).append(key)
        prefixes = []
        for stage, of_stage in by_stage.items():
            if len(of_stage) <= _FEW:
                prefixes += [f"{_prefix(key)}/" for key in of_stage]
            elif len(of_stage) < _MANY:
                prefixes.append(f"artifacts/{stage}/")
            else:  # a listing is page after page: sixteen at a time
                prefixes += [f"artifacts/{stage}/{stage}-{digit}" for digit in hexdigits[:16]]
        found = _by_key(self._bucket.listings(prefixes))
        return {key: found.get(key, _Found()) for key in keys}

    def _load(self, found: Mapping[str, _Found]) -> None:
        """Have the manifests of these keys in memory, as they are now."""
        etags = {}
        for key, one in found.items():
            if one.manifest is None:
                self._known.pop(key, None)
            elif key not in self._known or self._known[key].etag != one.manifest.etag:
                etags[key] = one.manifest.etag
        texts = self._cache.read(etags)
        missing = [key for key in etags if key not in texts]
        read = self._bucket.read_all([f"{_prefix(key)}/{MANIFEST_NAME}" for key in missing])
        fresh = {
            key: content.decode(errors="backslashreplace")
            for key, content in zip(missing, read, strict=True)
            if content is not None
        }
        self._cache.write({key: (etags[key], text) for key, text in fresh.items()})
        for key, text in (texts | fresh).items():
            self._known[key] = self._parse(key, etags[key], text)

    def _parse(self, key: str, etag: str, text: str) -> _Known:
        where = f"{self.place(key)}/{MANIFEST_NAME}"
        content = read_content(text, where=where)
        upload = str(content.pop("upload", ""))
        return _Known(etag, upload, Manifest.from_content(content, where=where))

    def keys(self, stage: str | None = None) -> Iterator[str]:
        found = _by_key(self._bucket.listing(f"artifacts/{stage}/" if stage else "artifacts/"))
        dated = [(one.manifest.modified, key) for key, one in found.items() if one.manifest]
        for _, key in sorted(dated):
            yield key

    def _sha256(self, key: str, name: str) -> str:
        return self._bucket.sha256(f"{_prefix(key)}/{self._known[key].upload}/{name}")

    # Writing -------------------------------------------------------------------------------

    def commit(
        self, key: str, data: Path, manifest: Manifest, *, replace: bool = False
    ) -> Manifest:
        upload = secrets.token_hex(8)
        prefix = f"{_prefix(key)}/{upload}/"
        self._bucket.upload({f"{prefix}{name}": data / name for name in manifest.files})
        content = json.dumps(
            {"upload": upload, **manifest.to_content()}, indent=1, ensure_ascii=False
        ).encode()
        place = f"{_prefix(key)}/{MANIFEST_NAME}"
        if not self._bucket.create(place, content):
            there = self._read_upload(key)
            if there != upload:  # else the answer to our request was lost, not the request
                if not replace and (winner := self.manifest(key)) is not None:
                    self._remove_upload(key, upload)
                    shutil.rmtree(self.root / "staging" / key, ignore_errors=True)
                    return winner
                self._bucket.write(place, content)
                if there is not None:
                    self._remove_upload(key, there)
        copy = self._folder(key) / upload
        copy.parent.mkdir(parents=True, exist_ok=True)
        os.rename(data, copy)
        shutil.rmtree(self.root / "staging" / key, ignore_errors=True)
        self._known.pop(key, None)
        return manifest

    def _read_upload(self, key: str) -> str | None:
        """The upload that the manifest names now; None if it is gone or damaged."""
        content = self._bucket.read(f"{_prefix(key)}/{MANIFEST_NAME}")
        try:
            return str(json.loads(content or b"")["upload"])
        except (ValueError, TypeError, KeyError):
            return None

    def discard(self, key: str) -> None:
        key, _, remains = key.partition("/")
        upload = remains or self._read_upload(key)
        if not remains:
            self._bucket.remove([f"{_prefix(key)}/{MANIFEST_NAME}"])
            self._known.pop(key, None)
            shutil.rmtree(self._folder(key), ignore_errors=True)
        if upload:  # others may be on their way: those that never arrive are for `remains`
            self._remove_upload(key, upload)

    def _remove_upload(self, key: str, upload: str) -> None:
        self._bucket.remove(list(self._bucket.listing(f"{_prefix(key)}/{upload}/")))

    def remains(self) -> dict[str, int]:
        """Bytes of uploads that no manifest names and that are older than a day."""
        found = _by_key(self._bucket.listing("artifacts/"))
        self._load(found)
        named = {(key, known.upload) for key, known in self._known.items()}
        limit = datetime.now(UTC) - _ABANDONED
        return {
            f"{key}/{upload}": sum(listed.bytes for listed in files.values())
            for key, one in sorted(found.items())
            for upload, files in one.uploads.items()
            if (key, upload) not in named
            and max(listed.modified for listed in files.values()) < limit
        }

    def copies(self) -> dict[str, int]:
        limit = (datetime.now(UTC) - _UNUSED).timestamp()
        folders = sorted((self.root / "artifacts").glob("*/*/*"))
        return {
            f"{folder.parent.name}/{folder.name}": folder_bytes(folder)
            for folder in folders
            if folder.stat().st_mtime < limit
        }

    def discard_copy(self, name: str) -> None:
        key, _, upload = name.partition("/")
        shutil.rmtree(self._folder(key) / upload, ignore_errors=True)


def _identify(bucket: Bucket) -> str:
    """Identity that the store in the bucket was given when it was created, now if it is new."""
    content = bucket.read(_MARKER)
    if content is None:
        made = json.dumps({"format": STORE_FORMAT, "id": secrets.token_hex(8)}).encode()
        try:
            created = bucket.create(_MARKER, made)
        except FileNotFoundError as error:
            raise StoreError(
                f"{bucket.url} cannot be used: {error}; create the bucket, or choose another "
                "--store URL"
            ) from error
        if created and bucket.create(_MARKER, made):
            bucket.remove([_MARKER])
            raise StoreError(
                f"the service of {bucket.url} ignores If-None-Match, so two machines could "
                "overwrite each other's artifacts: use one that has conditional writes"
            )
        content = bucket.read(_MARKER) or made
    marker = json.loads(content)
    check_format(marker, bucket.url)
    return str(marker["id"])


def _scratch_base() -> Path:
    chosen = os.environ.get("TUBELET_SCRATCH")
    if chosen:
        return Path(chosen).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "tubelet"


def _readable(url: str) -> str:
    return re.sub(r"[^\w.-]+", "-", url.partition("://")[2])[-60:]


def _prefix(key: str) -> str:
    return f"artifacts/{key.rpartition('-')[0]}/{key}"


def _by_key(listed: Mapping[str, Listed]) -> dict[str, _Found]:
    found: dict[str, _Found] = {}
    for path, one in listed.items():
        parts = path.split("/", 4)  # artifacts, stage, key, upload, name
        if parts[3:] == [MANIFEST_NAME]:
            found.setdefault(parts[2], _Found()).manifest = one
        elif len(parts) == 5:
            uploads = found.setdefault(parts[2], _Found()).uploads
            uploads.setdefault(parts[3], {})[parts[4]] = one
    return found
