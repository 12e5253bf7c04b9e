"""Maps a client's IP address to the key under which its requests are counted."""

from __future__ import annotations

import ipaddress

from app.api.client_info import UNKNOWN_ADDRESS, parse_address

# RFC 8215: NAT64 within a network, whose operator chooses where in the address the client's IPv4 address is. No client
# outside of that network can have such an address.
LOCAL_NAT64_PREFIX = ipaddress.IPv6Network("64:ff9b:1::/48")


def address_key(ip: str) -> str:
    """Return the IPv4 address, or the /64 network of an IPv6 address, because a customer usually gets a whole /64.

    An address that contains one of IPv4 is counted by itself. All text that is not an IP address shares one key, so
    that invalid values do not give a client new windows.
    """
    address = parse_address(ip)
    if address is None:
        return UNKNOWN_ADDRESS
    if isinstance(address, ipaddress.IPv4Address) or address in LOCAL_NAT64_PREFIX:
        return str(address)
    return f"{ipaddress.IPv6Address(int(address) >> 64 << 64)}/64"
