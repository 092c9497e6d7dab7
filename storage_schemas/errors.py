"""Every exception that tubelet raises on purpose, one tree in one file.

A message names the value, the bound and the remedy. The video, stage and part it
belongs to travel beside the message, so that each layer can add what it knows.
"""

from __future__ import annotations

from typing import Any


class TubeletError(Exception):
    """Base of all errors that tubelet raises on purpose.

    Parameters
    ----------
    message : str
        Names the value, the bound and the remedy.
    video_id, stage, part : str, optional
        Where it happened. Filled in by the layer that knows it.
    """

    def __init__(
        self,
        message: str,
        *,
        video_id: str | None = None,
        stage: str | None = None,
        part: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.video_id = video_id
        self.stage = stage
        self.part = part

    def __str__(self) -> str:
        where = [
            f"{label} {value!r}"
            for label, value in (
                ("video", self.video_id),
                ("stage", self.stage),
                ("part", self.part),
            )
            if value is not None
        ]
        return f"{self.message} [{', '.join(where)}]" if where else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only arguments are lost by the default pickling of exceptions.
        return (_rebuild, (type(self), self.message, self.video_id, self.stage, self.part))


def _rebuild(
    kind: type[TubeletError],
    message: str,
    video_id: str | None,
    stage: str | None,
    part: str | None,
) -> TubeletError:
    return kind(message, video_id=video_id, stage=stage, part=part)


class BadVideo(TubeletError):
    """A video cannot be used; it is quarantined and the rest of its part goes on.

    ``frames_got`` and ``frames_expected`` go into the quarantine row where frames were
    counted.
    """

    def __init__(
        self,
        message: str,
        *,
        frames_got: int | None = None,
        frames_expected: int | None = None,
        **where: str | None,
    ) -> None:
        super().__init__(message, **where)
        self.frames_got = frames_got
        self.frames_expected = frames_expected


class ItemCrash(BadVideo):
    """A video killed its worker process (signal, hang) more often than allowed."""


class SchemaError(TubeletError):
    """What lies on disk, or is about to, does not follow its schema."""


class StoreError(TubeletError):
    """The artifact store cannot do what was asked (lock, version, missing key)."""


class OutOfSpace(StoreError):
    """No space is left where the store lies; the run stops, finished work is kept."""


class ParameterError(TubeletError):
    """A parameter, stage or recipe name is unknown or its value is out of bounds."""


class StageDefinitionError(TubeletError):
    """A stage class is misdeclared; raised when the class is defined."""


class SourceError(TubeletError):
    """A data source as a whole is unusable: missing folder, no videos, bad split file."""


class MissingDependency(TubeletError):
    """An optional package is needed; the message carries the exact install line."""


class StageFailed(TubeletError):
    """A stage ended without an artifact."""


class Interrupted(StageFailed):
    """The run was asked to stop; what is done is kept."""


class TooManyFailures(TubeletError):
    """The quarantined share of a run passed ``max_failed_fraction``."""
