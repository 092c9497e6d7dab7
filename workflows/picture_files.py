"""Files that `tubelet show` writes: their names, whose they are, and how they are replaced."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from storage_schemas.errors import ParameterError
from storage_schemas.manifest import Manifest

MARK = "tubelet show "  # begins the comment in a file that is ours


def choose_path(manifest: Manifest, suffix: str, *, video_id: str | None, to: Path | None) -> Path:
    """Where to write: a name that tells what it is, in this folder or in `to`.

    Raises
    ------
    ParameterError
        If the file exists and `tubelet show` did not write it, or cannot be written.
    """
    name = manifest.key[: len(manifest.stage) + 9]
    if video_id is not None:
        name += "-" + re.sub(r"[^\w.-]+", "_", video_id.removesuffix(Path(video_id).suffix))
    path = Path() if to is None else to
    if path.is_dir():
        path = path / f"{name}{suffix}"
    if path.suffix.lower() != suffix:
        raise ParameterError(f"{path} must end in {suffix}, or be a folder that exists")
    if not path.parent.is_dir():
        raise ParameterError(f"the folder {path.parent} does not exist; create it first")
    if path.exists() and not is_ours(path):
        raise ParameterError(
            f"{path} exists and is not from `tubelet show`; remove it or give another --to FILE"
        )
    return path


def is_ours(path: Path) -> bool:
    """Whether `tubelet show` wrote the file, as the comment in it tells."""
    import av
    from av.error import FFmpegError

    try:
        with path.open("rb") as file:
            head = file.read(256)
        if head.startswith(b"\xff\xd8"):
            return head[6:].startswith(MARK.encode())
        name, options = str(path.absolute()), {"protocol_whitelist": "file"}
        with av.open(name, options=options) as container:
            return container.metadata.get("comment", "").startswith(MARK)
    except (FFmpegError, OSError, ValueError):
        return False


def with_comment(jpeg: bytes, text: str) -> bytes:
    """JPEG bytes with a comment segment in front (ITU-T T.81, B.2.4.5)."""
    comment = text.encode()
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside the file and rename, so that no half of it is ever seen."""
    temporary = path.with_name(f".{os.getpid()}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise ParameterError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
