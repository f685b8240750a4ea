"""The authorization server of the testing kit, on a port that stays its own."""

from django_tmibff.testing.live import CLIENT_ID, CLIENT_SECRET, SCOPE, LiveAuthorizationServer
from tests.real.processes import free_port

__all__ = ["CLIENT_ID", "CLIENT_SECRET", "SCOPE", "StrictServer"]


class StrictServer(LiveAuthorizationServer):
    """Can be stopped and started again while others open connections, and get ports for them."""

    def __init__(self) -> None:
        """Choose a port."""
        super().__init__(free_port())
