"""What is refused, and with which status."""

from __future__ import annotations

from hrkit.errors import HrkitError


class RefusedError(HrkitError):
    """A request that is not answered; `status` is that of HTTP."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class BusyError(RefusedError):
    """There is no room now; in a second there may be."""

    def __init__(self, reason: str) -> None:
        super().__init__(503, reason)
