"""Which hosts are this very machine: for them plain http will do."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Return whether ``host``, a name or an address, is this machine's loopback."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
