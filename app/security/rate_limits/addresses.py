"""Maps a client's IP address to the key under which its requests are counted."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

# No textual IP address with a zone and a port is longer. The bound also keeps long X-Forwarded-For values out of the
# cache.
MAX_ADDRESS_CHARACTERS = 64
UNKNOWN_ADDRESS = "unknown"
# RFC 6052: a NAT64 gateway puts the client's IPv4 address into the last 32 bits.
NAT64_PREFIX = ipaddress.IPv6Network("64:ff9b::/96")
# Some gateways append the client's port in X-Forwarded-For, which differs for each connection.
_ADDRESS_WITH_PORT = re.compile(r"^(?:\[(.+)\](?::\d+)?|([\d.]+):\d+)$")


def address_key(ip: str) -> str:
    """Return the IPv4 address, or the /64 network of an IPv6 address, because a customer usually gets a whole /64.

    IPv4 addresses mapped into IPv6 (RFC 4291) and behind NAT64 (RFC 6052) are returned as IPv4. All text that is not
    an IP address shares one key, so that invalid values do not give a client new windows.
    """
    return _address_key(ip) if len(ip) <= MAX_ADDRESS_CHARACTERS else UNKNOWN_ADDRESS


@lru_cache(maxsize=4096)
def _address_key(ip: str) -> str:
    try:
        address = ipaddress.ip_address(_ADDRESS_WITH_PORT.sub(r"\1\2", ip.strip()))
    except ValueError:
        return UNKNOWN_ADDRESS
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if address in NAT64_PREFIX:
        return str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return f"{ipaddress.IPv6Address(int(address) >> 64 << 64)}/64"
