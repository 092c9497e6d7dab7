"""Arrow IPC files that hold one record batch per video.

A file is self-contained: the schema metadata names the noun, its version and the
videos in order, so batch *i* belongs to ``items[i]``, also when it has no rows.
Files are uncompressed and memory-mapped: reading one video touches only its pages.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from storage_schemas.errors import SchemaError

_NOUN, _VERSION, _ITEMS = b"tubelet.noun", b"tubelet.version", b"tubelet.items"


def write_table(
    path: Path,
    schema: pa.Schema,
    items: Iterable[tuple[str, pa.Table]],
    *,
    video_ids: list[str],
    noun: str,
    version: int,
) -> int:
    """Write one record batch per video and flush it to the disk.

    Parameters
    ----------
    path : Path
        Target file, replaced if it exists.
    schema : pyarrow.Schema
        Columns of every table.
    items : iterable of (str, pyarrow.Table)
        Video id and its rows, in the order of `video_ids`; consumed as a stream.
    video_ids : list of str
        The ids, known before the first table is written.
    noun, version : str, int
        Recorded in the metadata and checked by `TableFile`.

    Returns
    -------
    int
        Number of rows written.

    Raises
    ------
    SchemaError
        If a table does not follow `schema`, or ids and tables do not line up.
    """
    metadata = {
        _NOUN: noun.encode(),
        _VERSION: str(version).encode(),
        _ITEMS: json.dumps(video_ids).encode(),
    }
    rows = 0
    count = 0
    with path.open("wb") as file:
        with pa.ipc.new_file(file, schema.with_metadata(metadata)) as writer:
            for video_id, table in items:
                if count >= len(video_ids) or video_id != video_ids[count]:
                    raise SchemaError(
                        f"{noun}: table {count} is of video {video_id!r}, but the index "
                        f"names {video_ids[count : count + 1]}; write videos in index order"
                    )
                writer.write_batch(_one_batch(table, schema, noun=noun, video_id=video_id))
                rows += table.num_rows
                count += 1
        file.flush()
        os.fsync(file.fileno())
    if count != len(video_ids):
        raise SchemaError(f"{noun}: {count} tables for {len(video_ids)} videos")
    return rows


def _one_batch(table: pa.Table, schema: pa.Schema, *, noun: str, video_id: str) -> pa.RecordBatch:
    if not table.schema.equals(schema, check_metadata=False):
        raise SchemaError(
            f"{noun}: columns {table.schema.names} with types {list(map(str, table.schema.types))} "
            f"do not follow the schema {schema.names} {list(map(str, schema.types))}",
            video_id=video_id,
        )
    batches = table.combine_chunks().to_batches()
    if not batches:
        return pa.RecordBatch.from_pylist([], schema=schema)
    if len(batches) > 1:
        raise SchemaError(f"{noun}: a video may hold at most 2 GiB a column", video_id=video_id)
    return batches[0]


class TableFile(Mapping[str, pa.RecordBatch]):
    """A memory-mapped file of `write_table`: video id -> record batch.

    Raises
    ------
    SchemaError
        If the file is missing, is of another noun, or of a newer version.
    """

    def __init__(self, path: Path, schema: pa.Schema, *, noun: str, version: int) -> None:
        self.path = path
        try:
            self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
        except (OSError, pa.ArrowInvalid) as error:
            raise SchemaError(
                f"{path} cannot be read as Arrow IPC ({error}); run `tubelet verify`"
            ) from error
        metadata = self._reader.schema.metadata or {}
        found = metadata.get(_NOUN, b"").decode()
        if found != noun:
            raise SchemaError(f"{path} holds {found or 'no tubelet noun'!r}, expected {noun!r}")
        check_version(noun, int(metadata[_VERSION]), version, where=str(path))
        if self._reader.schema.names != schema.names:
            raise SchemaError(f"{path}: columns {self._reader.schema.names}, not {schema.names}")
        self.video_ids: list[str] = json.loads(metadata[_ITEMS])
        self._index = {video_id: i for i, video_id in enumerate(self.video_ids)}

    def __getitem__(self, video_id: str) -> pa.RecordBatch:
        return self._reader.get_batch(self._index[video_id])

    def __iter__(self) -> Iterator[str]:
        return iter(self.video_ids)

    def __len__(self) -> int:
        return len(self.video_ids)

    def __repr__(self) -> str:
        return f"TableFile({self.path.name}, {len(self)} videos)"


def check_version(noun: str, found: int, known: int, *, where: str) -> None:
    """Raise `SchemaError` if `found` is newer than the `known` major version."""
    if found > known:
        raise SchemaError(
            f"{where}: {noun} version {found} was written by a newer tubelet; this one reads "
            f"up to version {known}. Upgrade tubelet, or use another store with --store DIR"
        )
