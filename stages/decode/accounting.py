"""Frame accounting: how many frames a file promises, and how many really came out.

The rule and its reasons stand in docs/decisions/0003-frame-accounting.md.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TOLERATED_FRACTION = 0.02  # of the promised frames or seconds that may be missing
TOLERATED_SECONDS = 0.5  # a duration in a header is rounded, or that of another stream


@dataclass
class FrameAccount:
    """Promise of the container, packets that were there, frames that were decoded.

    Parameters
    ----------
    header_frames : int
        Frames that the header promises; 0 where the format does not say.
    header_discarded : int
        Promised frames that lie outside of the edit list and are not to be shown.
    duration_seconds : float
        Length of the whole file by its header; 0 where the format does not say.
    packets, discarded, hidden : int
        Packets of the video stream; those outside of the edit list; those that are
        references only and show nothing.
    start_seconds, end_seconds : float
        Where the file starts, and where the last packet of any stream ends.
    cut_inside : bool
        The last packet of the video stream is incomplete.
    came_out, corrupt : int
        Frames that the decoder gave, and how many of them it marked as damaged.
    stalled : int
        Undamaged frames that are no later than the one before them: their times repeat or
        run backwards, so they have no place in the order of frames.
    """

    header_frames: int = 0
    header_discarded: int = 0
    duration_seconds: float = 0.0
    packets: int = 0
    discarded: int = 0
    hidden: int = 0
    start_seconds: float = 0.0
    end_seconds: float = 0.0
    cut_inside: bool = False
    came_out: int = 0
    corrupt: int = 0
    stalled: int = 0

    @property
    def decoded(self) -> int:
        """Frames that came out undamaged, each later than the one before."""
        return self.came_out - self.corrupt - self.stalled

    @property
    def expected(self) -> int:
        """Frames to be shown: by the header, else by the duration, else by the packets."""
        if self.header_frames:
            promised = max(self.header_frames, self.packets)
        else:
            promised = self.packets
            lost = self.duration_seconds - self.end_seconds
            bound = max(TOLERATED_SECONDS, TOLERATED_FRACTION * self.duration_seconds)
            there = self.end_seconds - self.start_seconds
            if there > 0 and lost > bound:
                promised += round(self.packets * lost / there)
        unseen = max(self.header_discarded, self.discarded) + self.hidden
        return max(promised - unseen, self.came_out)

    @property
    def partial(self) -> bool:
        """Whether the file broke its promise, beyond one frame or 2 % of them."""
        missing = self.expected - self.decoded
        return self.cut_inside or missing > max(1, TOLERATED_FRACTION * self.expected)


def is_hidden(codec: str, packet: bytes | memoryview) -> bool:
    """Whether a packet only updates references (VP8 alt-ref frames: RFC 6386, 9.1)."""
    return codec == "vp8" and len(packet) > 0 and not packet[0] & 0x10


def ts_packet_bytes(head: bytes) -> int:
    """Length of the packets of a transport stream, by the spacing of its sync bytes.

    Parameters
    ----------
    head : bytes
        The first bytes of the file; a few packets are enough.

    Returns
    -------
    int
        188, 192 (M2TS: a time code of 4 bytes goes first), 204 (with error correction), or
        0 if no length fits. A size that *any* of them divides proves nothing: 1 cut in 100
        has one by chance.
    """
    for size, first in ((188, 0), (192, 4), (204, 0)):
        if set(head[first::size][:5]) == {0x47}:
            return size
    return 0


def ends_inside_a_fragment(path: Path) -> bool:
    """Whether a fragmented MP4 ends before its last fragment does.

    Nothing else tells it if the cut lies in the fragment's header: the demuxer passes over a
    box that is not whole, and the number of fragments stands nowhere. The boxes at the top
    are walked (ISO/IEC 14496-12, 4.2): ``moof`` describes a fragment, ``mdat`` holds it.
    """
    kind, fragmented, start = b"", False, 0
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while start < end:
            file.seek(start)
            head = file.read(16)
            size, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if size == 1:  # the next eight bytes say it
                size = int.from_bytes(head[8:], "big")
            fragmented |= kind == b"moof"
            if size < 8:  # 0: up to the end of the file; else not a box
                return False
            start += size
    cut = start > end and (kind == b"mdat" or len(kind) < 4)
    return fragmented and (kind == b"moof" or cut)
