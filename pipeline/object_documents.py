"""`pipeline.documents` in a bucket: an object a document.

Lines that are appended are objects named by how many lines came before, ``ledger/00000025.jsonl``,
and created only if there is none: of two that append after the same lines one is refused, so no
place is ever given twice, and a missing object shows.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.bucket import Bucket
from pipeline.documents import Documents
from storage_schemas.errors import StoreError


class ObjectDocuments(Documents):
    """Texts in objects; of several that write one at the same moment the last wins.

    Parameters
    ----------
    bucket : Bucket
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._pages: dict[tuple[str, str], list[str]] = {}

    def names(self, folder: str) -> list[str]:
        return sorted(name for name in self._bucket.listing(f"{folder}/") if name.endswith(".json"))

    def read(self, name: str) -> str | None:
        content = self._bucket.read(name)
        return None if content is None else content.decode()

    def read_all(self, names: Sequence[str]) -> dict[str, str]:
        contents = zip(names, self._bucket.read_all(names), strict=True)
        return {name: content.decode() for name, content in contents if content is not None}

    def write(self, name: str, text: str) -> None:
        self._bucket.write(name, text.encode())

    def remove(self, name: str) -> bool:
        there = name in self._bucket.listing(name)
        self._bucket.remove([name])
        return there

    def lines(self, name: str) -> list[str]:
        pages = {page: one.etag for page, one in sorted(self._bucket.listing(f"{name}/").items())}
        new = [page for page, etag in pages.items() if (page, etag) not in self._pages]
        for page, content in zip(new, self._bucket.read_all(new), strict=True):
            self._pages[page, pages[page]] = (content or b"").decode().split("\n")[:-1]
        lines: list[str] = []
        for page, etag in pages.items():
            if page != _page(name, len(lines)):
                raise StoreError(
                    f"{self._bucket.url}/{_page(name, len(lines))} is missing, while {page} is "
                    "there: bring it back from a backup or an older version of the object; what "
                    "follows it cannot be told without it"
                )
            lines += self._pages[page, etag]
        return lines

    def append(self, name: str, lines: Sequence[str], *, after: int) -> bool:
        text = "".join(f"{line}\n" for line in lines)
        return self._bucket.create(_page(name, after), text.encode())


def _page(name: str, after: int) -> str:
    return f"{name}/{after:08d}.jsonl"
