"""The address and the user agent of a request's client, as they are stored, shown and logged."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from flask import request

# No textual IP address with a zone and a port is longer. The bound also keeps long X-Forwarded-For values out of the
# cache.
MAX_ADDRESS_CHARACTERS = 64
UNKNOWN_ADDRESS = "unknown"
USER_AGENT_LENGTH = 255
# RFC 6052: a NAT64 gateway puts the client's IPv4 address into the last 32 bits.
NAT64_PREFIX = ipaddress.IPv6Network("64:ff9b::/96")
# RFC 8215: NAT64 within a network, whose operator chooses where in the address the client's IPv4 address is. No client
# outside of that network can have such an address.
LOCAL_NAT64_PREFIX = ipaddress.IPv6Network("64:ff9b:1::/48")
# Some gateways append the client's port in X-Forwarded-For, which differs for each connection.
_WITH_PORT = re.compile(r"\[(.+)\](?::[0-9]+)?|([0-9.]+):[0-9]+")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def client_address() -> str:
    """Return the client's IP address as the trusted proxies report it, or UNKNOWN_ADDRESS."""
    return str(parse_address(request.remote_addr or "") or UNKNOWN_ADDRESS)


def parse_address(text: str) -> Address | None:
    """Return the IP address in a text, which may have a port and an IPv6 zone; None if there is none.

    IPv4 addresses mapped into IPv6 (RFC 4291) and behind NAT64 (RFC 6052) are returned as IPv4.
    """
    return _parse(text) if len(text) <= MAX_ADDRESS_CHARACTERS else None


@lru_cache(maxsize=4096)
def _parse(text: str) -> Address | None:
    text = text.strip()
    with_port = _WITH_PORT.fullmatch(text)
    try:
        address = ipaddress.ip_address(with_port[1] or with_port[2] if with_port else text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64_PREFIX:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    # Without the zone, which names an interface of the proxy.
    return address.ipv4_mapped or ipaddress.IPv6Address(int(address))


def address_key(ip: str) -> str:
    """Return the key for the rate limits of an address.

    It is the IPv4 address, or the /64 network of an IPv6 address, because a customer usually gets a whole /64. An
    address that contains one of IPv4 is counted by itself. All text that is not an IP address shares one key, so that
    invalid values do not give a client new windows.
    """
    address = parse_address(ip)
    if address is None:
        return UNKNOWN_ADDRESS
    if isinstance(address, ipaddress.IPv4Address) or address in LOCAL_NAT64_PREFIX:
        return str(address)
    return f"{ipaddress.IPv6Address(int(address) >> 64 << 64)}/64"


def client_user_agent() -> str:
    """Return the User-Agent header, without characters that are not printable and cut to USER_AGENT_LENGTH.

    It is decoded as UTF-8, with U+FFFD for invalid bytes: WSGI servers decode headers as Latin-1 (PEP 3333).
    """
    # No character has more than four bytes.
    header = request.environ.get("HTTP_USER_AGENT", "")[: 4 * USER_AGENT_LENGTH]
    text = header.encode("latin-1", "replace").decode("utf-8", "replace")
    return "".join(c for c in text if c.isprintable())[:USER_AGENT_LENGTH]
