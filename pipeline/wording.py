"""Words that many messages share: counts with their nouns, and the name that was meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection

_CUTOFF = 0.5  # of difflib's similarity: 'shrads' is 'shards', 'x' is nothing
_LISTED = 60


def counted(number: int, noun: str) -> str:
    """A count with its noun: ``1 video``, ``2 videos``, ``3 boxes``.

    Parameters
    ----------
    number : int
    noun : str
        In the singular; the last of its words changes.
    """
    ending = "" if number == 1 else "es" if noun.endswith(("s", "x")) else "s"
    return f"{number} {noun}{ending}"


def suggest(name: str, known: Collection[str], *, listed: int = _LISTED) -> str:
    """What may be meant by a name that is unknown: the nearest, else all that there are.

    Parameters
    ----------
    name : str
    known : collection of str
        In the order to list them; at most `listed` are.

    Returns
    -------
    str
        ``did you mean 'decode'?``, ``choose from 'decode', 'slic'`` or ``there is none``.
    """
    near = difflib.get_close_matches(name, known, n=1, cutoff=_CUTOFF)
    if near:
        return f"did you mean {near[0]!r}?"
    if not known:
        return "there is none"
    names = ", ".join(map(repr, list(known)[:listed]))
    return f"choose from {names}" + (f", ... ({len(known)} in all)" if len(known) > listed else "")
