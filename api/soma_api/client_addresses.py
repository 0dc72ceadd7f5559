"""Which network a request comes from, also behind proxies."""

import ipaddress
from collections.abc import Sequence

_UNKNOWN = "unknown"
# A host has a whole /64 to choose its addresses from.
_IPV6_PREFIX = 64


def client_network(peer: str | None, forwarded: Sequence[str], trusted_proxies: int) -> str:
    """Return the IPv4 address of a client, or the /64 of its IPv6 address.

    Args:
        peer: Who is connected to this process; None where there is no address, as on a socket of files.
        forwarded: Each header `X-Forwarded-For`, in order.
        trusted_proxies: How many proxies of the operator's own stand in front. Each adds the address that it
            was asked from, so that many entries from the end are true; others can be anybody's invention.
    """
    entries = [entry.strip() for header in forwarded for entry in header.split(",")]
    if 0 < trusted_proxies <= len(entries):
        return _network(entries[-trusted_proxies]) or _network(peer) or _UNKNOWN
    return _network(peer) or _UNKNOWN


def _network(text: str | None) -> str | None:
    try:
        address = ipaddress.ip_address(_without_port(text or ""))
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), _IPV6_PREFIX), strict=False))
    return str(address)


def _without_port(text: str) -> str:
    # Some proxies write `192.0.2.7:4711` and `[2001:db8::7]:4711`.
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
