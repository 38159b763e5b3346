"""IP addresses that no receiver on the internet has: IANA's registries of special-purpose addresses, whole.

Rows that are reachable (anycast services of a network, AS112) are in the list: they, too, are answered by the nearest server.

https://www.iana.org/assignments/iana-ipv4-special-registry/iana-ipv4-special-registry.xhtml
https://www.iana.org/assignments/iana-ipv6-special-registry/iana-ipv6-special-registry.xhtml
"""

from __future__ import annotations

import ipaddress

IPv4 = ipaddress.IPv4Address
IPv6 = ipaddress.IPv6Address

IPV4_SPECIAL = (
    "0.0.0.0/8",  # "this network"; 0.0.0.0/32 is "this host"
    "10.0.0.0/8",  # private use
    "100.64.0.0/10",  # shared address space
    "127.0.0.0/8",  # loopback
    "169.254.0.0/16",  # link local
    "172.16.0.0/12",  # private use
    "192.0.0.0/24",  # IETF protocol assignments: DS-Lite, PCP, TURN, NAT64 discovery and the dummy address in it
    "192.0.2.0/24",  # documentation (TEST-NET-1)
    "192.31.196.0/24",  # AS112-v4
    "192.52.193.0/24",  # AMT
    "192.88.99.0/24",  # 6to4 relay anycast, deprecated, and 6a44 in it
    "192.168.0.0/16",  # private use
    "192.175.48.0/24",  # direct delegation AS112 service
    "198.18.0.0/15",  # benchmarking
    "198.51.100.0/24",  # documentation (TEST-NET-2)
    "203.0.113.0/24",  # documentation (TEST-NET-3)
    "240.0.0.0/4",  # reserved; limited broadcast in it
)

IPV6_SPECIAL = (
    "::1/128",  # loopback
    "::/128",  # unspecified
    "64:ff9b:1::/48",  # IPv4-IPv6 translation, local use: where the IPv4 address stands in it, a network decides (RFC 8215)
    "100::/64",  # discard only
    "100:0:0:1::/64",  # dummy prefix
    "2001::/23",  # IETF protocol assignments: Teredo, PCP, TURN, DNS-SD, benchmarking, AMT, AS112, ORCHID and DETs in it
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4
    "2620:4f:8000::/48",  # direct delegation AS112 service
    "3fff::/20",  # documentation
    "5f00::/16",  # segment routing (SRv6) SIDs
    "fc00::/7",  # unique local
    "fe80::/10",  # link local
)

TRANSLATED = ("::ffff:0:0/96", "64:ff9b::/96")
"""The two rows of the registry that hold an IPv4 address in their last 32 bits, and mean it: mapped, and NAT64."""

OF_CLOUDS = ("168.63.129.16/32",)
"""Addresses that look public, and are the host's own: Azure's platform (wire server, DNS).

https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
"""

UNICAST = ipaddress.IPv6Network("2000::/3")
"""All that IANA gives out of IPv6: an address outside of it is no server's.

https://www.iana.org/assignments/ipv6-address-space/ipv6-address-space.xhtml
"""

_V4 = [ipaddress.IPv4Network(text) for text in (*IPV4_SPECIAL, *OF_CLOUDS)]
_V6 = [ipaddress.IPv6Network(text) for text in IPV6_SPECIAL]
_TRANSLATED = [ipaddress.IPv6Network(text) for text in TRANSLATED]


def is_public(address: IPv4 | IPv6) -> bool:
    """Whether an address is one of the internet. IPv4 inside IPv6 is looked at as what it is."""
    if isinstance(address, IPv6):
        if any(address in network for network in _TRANSLATED):
            return is_public(IPv4(int(address) & 0xFFFF_FFFF))
        if address not in UNICAST or any(address in network for network in _V6):
            return False
    elif any(address in network for network in _V4):
        return False
    # what Python knows beside: multicast, and rows that its newer versions have
    return address.is_global and not address.is_multicast
