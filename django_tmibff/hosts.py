"""Which hosts are this very machine: for them plain http will do. And what browsers call hosts."""

import ipaddress
from urllib.parse import urlsplit

_USUAL_PORTS = {"http": 80, "https": 443}


def is_loopback(host: str) -> bool:
    """Return whether ``host``, a name or an address, is this machine's loopback."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def browser_origin(url: str) -> str | None:
    """Return the origin of ``url`` as a browser writes it; ``None`` where it is no web address."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in _USUAL_PORTS or not host:
        return None
    name = f"[{host}]" if ":" in host else host
    usual = port in (None, _USUAL_PORTS[parts.scheme])
    return f"{parts.scheme}://{name}" + ("" if usual else f":{port}")
