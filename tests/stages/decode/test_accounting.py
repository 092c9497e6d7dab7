from __future__ import annotations

import pytest

from stages.decode.accounting import FrameAccount, is_hidden, ts_packet_bytes


@pytest.mark.parametrize(
    ("account", "expected", "partial"),
    [
        (FrameAccount(header_frames=250, packets=250, came_out=250), 250, False),
        (FrameAccount(header_frames=250, packets=116, came_out=115), 250, True),
        (FrameAccount(header_frames=444, packets=68, came_out=68), 444, True),
        # One frame, or 2 %, may be missing.
        (FrameAccount(header_frames=10, packets=10, came_out=9), 10, False),
        (FrameAccount(header_frames=10, packets=10, came_out=8), 10, True),
        (FrameAccount(header_frames=200, packets=200, came_out=196), 200, False),
        (FrameAccount(header_frames=200, packets=200, came_out=195), 200, True),
        # Damaged frames count as missing.
        (FrameAccount(header_frames=200, packets=200, came_out=200, corrupt=5), 200, True),
        # So do frames that cannot be put in order of time.
        (FrameAccount(header_frames=200, packets=200, came_out=200, stalled=5), 200, True),
        (FrameAccount(header_frames=200, packets=200, came_out=200, stalled=4), 200, False),
        # No count in the header: duration, with tolerance; no duration: packets.
        (FrameAccount(packets=100, came_out=100, duration_seconds=10, end_seconds=4), 250, True),
        (FrameAccount(packets=100, came_out=100, duration_seconds=4.4, end_seconds=4), 100, False),
        # Matroska counts its duration from zero, wherever the first frame lies.
        (
            FrameAccount(
                packets=100, came_out=100, start_seconds=5, end_seconds=9, duration_seconds=9
            ),
            100,
            False,
        ),
        (
            FrameAccount(
                packets=100, came_out=100, start_seconds=5, end_seconds=9, duration_seconds=11
            ),
            150,
            True,
        ),
        (FrameAccount(packets=100, came_out=100), 100, False),
        (FrameAccount(packets=100, came_out=100, cut_inside=True), 100, True),
        # Edit lists and hidden references promise packets that nobody is to see.
        (
            FrameAccount(
                header_frames=250, header_discarded=150, packets=250, discarded=150, came_out=100
            ),
            100,
            False,
        ),
        (FrameAccount(packets=110, hidden=10, came_out=100), 100, False),
        # More than promised is no loss.
        (FrameAccount(header_frames=90, packets=90, came_out=100), 100, False),
    ],
)
def test_expected_and_partial(account: FrameAccount, expected: int, partial: bool) -> None:
    assert (account.expected, account.partial) == (expected, partial)


@pytest.mark.parametrize(
    ("codec", "packet", "hidden"),
    [
        ("vp8", b"\x10", False),
        ("vp8", b"\x01", True),
        ("vp8", b"", False),
        ("h264", b"\x00", False),
    ],
)
def test_hidden_packets(codec: str, packet: bytes, hidden: bool) -> None:
    assert is_hidden(codec, packet) is hidden


@pytest.mark.parametrize(
    ("head", "size"),
    [
        ((b"\x47" + bytes(187)) * 8, 188),
        ((bytes(4) + b"\x47" + bytes(187)) * 8, 192),
        ((b"\x47" + bytes(203)) * 8, 204),
        (b"\x47" + bytes(100), 188),
        (b"garbage" + (b"\x47" + bytes(187)) * 8, 0),
        (b"", 0),
    ],
)
def test_ts_packet_bytes(head: bytes, size: int) -> None:
    assert ts_packet_bytes(head[:2048]) == size
