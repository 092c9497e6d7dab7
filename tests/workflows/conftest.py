"""Fixtures of the tests that need a server of their own."""

from live_server import live_server as live_server
