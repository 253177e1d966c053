"""Errors that are answered with an HTTP status."""

from __future__ import annotations

from hrkit.errors import HrkitError


class RefusedError(HrkitError):
    """A request that is refused with an HTTP `status`."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class BusyError(RefusedError):
    """A request that is refused for now, with status 503."""

    def __init__(self, reason: str) -> None:
        super().__init__(503, reason)
