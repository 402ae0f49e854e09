"""Addresses as people write them: of judges' servers, of Prefect's and MLflow's, and to listen at."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

WEB = {"http": 80, "https": 443}  # the ports that stand for themselves
LARGEST_PORT = 65535
LOOPBACK = ("localhost", "127.0.0.1", "::1")

_NAME = re.compile(r"[^\s/\\?#@\[\]<>^`{|}%:\"',;]+")
_DOTTED = re.compile(r"[\d.]+")


@dataclass(frozen=True)
class Address:
    """A place on the network; `port` and `login` are None where none was written."""

    scheme: str
    host: str
    port: int | None
    path: str = ""
    login: str | None = None

    @property
    def url(self) -> str:
        """In full, without a closing slash; an IPv6 address is in brackets."""
        login = "" if self.login is None else f"{self.login}@"
        port = "" if self.port is None else f":{self.port}"
        return f"{self.scheme}://{login}{bracketed(self.host)}{port}{self.path.rstrip('/')}"


def parse_address(text: str, schemes: Mapping[str, int], default: str | None = None) -> Address:
    """What an address says, with `default` for a scheme that is left out.

    Raises ValueError naming what is wrong with it.
    """
    scheme, sign, rest = text.strip().partition("://")
    if not sign:
        scheme, rest = default or "", text.strip()
    if scheme.lower() not in schemes:
        raise ValueError(f"it must begin with {' or '.join(f'{name}://' for name in schemes)}")
    place, slash, path = rest.partition("/")
    login, at, place = place.rpartition("@")
    host, port = split_port(place)
    if "?" in path or "#" in path:
        raise ValueError("it holds a query")
    return Address(scheme.lower(), host, port, slash + path, login if at else None)


def split_port(place: str) -> tuple[str, int | None]:
    """`gpu:99` or `[::1]:99` as host and port; an IPv6 address alone may go without its brackets.

    The host is empty where none stands before the port. Raises ValueError naming what is wrong.
    """
    host, port = place, ""
    if place.startswith("["):
        host, closed, rest = place[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ValueError(f"{place!r} is no IPv6 address in brackets, with or without a port")
        port = rest.removeprefix(":")
        _ipv6(host)
    elif place.count(":") > 1:
        _ipv6(place)
    else:
        host, _, port = place.partition(":")
        _check_name(host)
    if not port:
        return host, None
    if not (port.isascii() and port.isdecimal() and 0 < int(port) <= LARGEST_PORT):
        raise ValueError(f"{port!r} is no port; ports are 1 to {LARGEST_PORT}")
    return host, int(port)


def _ipv6(host: str) -> IPv6Address:
    try:
        return IPv6Address(host)
    except ValueError:
        raise ValueError(
            f"{host!r} is no IPv6 address, and a name has one colon at most, before its port; an IPv6 "
            "address with a port is in brackets: [::1]:11434"
        ) from None


def _check_name(host: str) -> None:
    if host and _DOTTED.fullmatch(host):
        try:
            IPv4Address(host)
        except ValueError:
            raise ValueError(f"{host!r} is no IPv4 address") from None
    elif host and not _NAME.fullmatch(host):
        raise ValueError(f"{host!r} is no name of a host")


def parse_host(text: str) -> str:
    """A host alone, by name or address, without brackets. Raises ValueError naming what is wrong with it."""
    if "/" in text:
        raise ValueError("expected a host alone, without http:// and a path")
    host, port = split_port(text.strip())
    if port is not None:
        raise ValueError(f"expected a host alone, without the port {port}")
    if not host:
        raise ValueError("it is empty")
    return host


def bracketed(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def reached(host: str) -> str:
    """A host that is listened at, as it is reached from this machine."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine's own loopback."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost" or host.lower().rstrip(".").endswith(".localhost")
