"""Which addresses a proxy of the environment stands before, settled before any library reads it.

Libraries read HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY each in its own way: httpx, through which
Prefect and the hub are asked, raises for an IPv6 network in NO_PROXY, and for a SOCKS proxy without its
package, even where the proxy is not for the address. `settle` leaves to them what all of them can read, and
never a proxy before this machine's own loopback. What it takes away is kept under another name, and an
address that it was for is refused: nothing is sent past a proxy that somebody has set.
"""

import os
import re
from collections.abc import MutableMapping
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from tasks.errors import UsageError
from tasks.machine.addresses import LOOPBACK, is_loopback, parse_address, split_port
from tasks.machine.home import without_password

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
KEPT = "TOUCHSTONE_KEPT_"  # before the name of a variable: its value as it was set
HUB = "https://huggingface.co"
SERVERS = ("PREFECT_API_URL", "MLFLOW_TRACKING_URI")  # asked by libraries, which know no networks
SCHEMES = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}

_PLAIN = re.compile(r"\*|\.?[\w-][\w.-]*(:\d{1,5})?|[\d.]+/\d+")  # what every library can read in NO_PROXY

Environment = MutableMapping[str, str]


def settle(environ: Environment = os.environ) -> None:
    """Make the environment one that every library can read; doing it again changes nothing."""
    found = [name for name in (*PROXIES, *map(str.lower, PROXIES)) if environ.get(name)]
    for name in found:
        if _fault(environ[name]):
            environ[KEPT + name.upper()] = environ.pop(name)
    listed = _listed(environ)
    if not (found or listed):
        return
    environ[f"{KEPT}NO_PROXY"] = ",".join(entry for entry in _entries(listed) if entry not in LOOPBACK)
    direct = [entry for entry in map(_readable, _entries(listed)) if entry]
    servers = filter(None, map(_host_of, map(environ.get, SERVERS)))
    direct += [host for host in servers if _is_listed(host, None, listed)]
    environ["NO_PROXY"] = environ["no_proxy"] = ",".join(dict.fromkeys([*direct, *LOOPBACK]))


def go_direct(host: str, environ: Environment = os.environ) -> None:
    """Let no library ask a host through a proxy: it is this machine, by another name."""
    if "NO_PROXY" in environ:
        kept = environ.get(f"{KEPT}NO_PROXY", "")
        environ[f"{KEPT}NO_PROXY"] = f"{kept},{host}".lstrip(",")
        settle(environ)


def takes_proxy(url: str) -> bool:
    """Whether the environment's proxy, if there is one, stands before an address.

    Raises UsageError when one does that cannot be used.
    """
    proxy = proxy_of(url)
    if proxy is None:
        return not _goes_direct(url, os.environ)
    variable, value = proxy
    if fault := _fault(value):
        raise UsageError(
            f"the proxy that the environment names cannot be used: {variable} is "
            f"{without_password(value)!r}; {fault}. Correct or unset {variable}, or name "
            f"{urlsplit(url).hostname} in NO_PROXY"
        )
    return True


def require_way_to_hub() -> None:
    """Raises UsageError where the environment's proxy stands before the hub and cannot be used."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() not in ("1", "true", "yes", "on"):
        takes_proxy(os.environ.get("HF_ENDPOINT") or HUB)


def proxy_of(url: str, environ: Environment = os.environ) -> tuple[str, str] | None:
    """The variable and the proxy that stand before an address, if any."""
    if _goes_direct(url, environ):
        return None
    for variable in (f"{urlsplit(url).scheme.upper()}_PROXY", "ALL_PROXY"):
        for name in (variable.lower(), variable, KEPT + variable):
            if environ.get(name):
                return variable, environ[name]
    return None


def through(url: str) -> str:
    """` through the proxy http://proxy:3128 of HTTPS_PROXY`, for errors; nothing where none stands before."""
    proxy = proxy_of(url)
    return f" through the proxy {without_password(proxy[1])} of {proxy[0]}" if proxy else ""


def _fault(proxy: str) -> str | None:
    """Why a proxy cannot be used, or None when it can."""
    try:
        address = parse_address(proxy, SCHEMES, default="http")
    except ValueError as error:
        return str(error)
    if not address.host:
        return "it names no host"
    if address.scheme.startswith("socks") and find_spec("socksio") is None:
        return 'a SOCKS proxy needs a package that is not installed: pip install "httpx[socks]"'
    return None


def _entries(listed: str) -> list[str]:
    return [entry for entry in re.split(r"[\s,]+", listed) if entry]


def _readable(entry: str) -> str | None:
    """An entry of NO_PROXY as all libraries read it; None for one that only this module does."""
    if entry.startswith("*."):
        return entry[1:]
    if _PLAIN.fullmatch(entry):
        return entry
    try:
        host, port = split_port(entry)
    except ValueError:
        return None
    return host if ":" in host and port is None else None


def _host_of(url: str | None) -> str | None:
    try:
        return urlsplit(url or "").hostname
    except ValueError:
        return None


def _goes_direct(url: str, environ: Environment) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    return is_loopback(host) or _is_listed(host, parts.port, _listed(environ))


def _listed(environ: Environment) -> str:
    """NO_PROXY as it was set, and as it is."""
    values = (environ.get(f"{KEPT}NO_PROXY"), environ.get("no_proxy") or environ.get("NO_PROXY"))
    return ",".join(dict.fromkeys(entry for value in values for entry in _entries(value or "")))


def _is_listed(host: str, port: int | None, listed: str) -> bool:
    """Whether NO_PROXY names a host: by its name or that of its domain, its address, or its network."""
    return any(_matches(host.lower().rstrip("."), port, entry.lower()) for entry in _entries(listed))


def _matches(host: str, port: int | None, entry: str) -> bool:
    if entry == "*":
        return True
    try:
        if "/" in entry:
            return ip_address(host) in ip_network(entry.replace("[", "").replace("]", ""), strict=False)
        name, own = split_port(entry.removeprefix("*").lstrip("."))
    except ValueError:
        return False
    if own is not None and own != port:
        return False
    if ":" in name or ":" in host:
        return _same(name, host)
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _same(one: str, other: str) -> bool:
    try:
        return ip_address(one) == ip_address(other)
    except ValueError:
        return False
