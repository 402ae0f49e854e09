"""One verified file over HTTP: continued where an earlier attempt stopped, retried on I/O errors only."""

import json
import logging
import os
import random
import re
import shutil
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from pathlib import Path

import httpx

from tasks.config import Source
from tasks.machine.digests import sha256_of
from tasks.machine.disk import require_space
from tasks.machine.proxies import takes_proxy, through
from tasks.record.manifest import canonical_json, write_atomically

log = logging.getLogger(__name__)

BASE_DELAY = 0.5  # seconds before the second attempt; doubled for each one after it
MAX_DELAY = 30.0  # seconds
MAX_RETRY_AFTER = 120.0  # seconds; a server that wants more is left for the next address
MAX_REDIRECTS = 10
MAX_BYTES = 64 * 2**30  # of a body whose length nobody tells
SLOWEST = 100  # bytes a second, over the time that a server may be silent

Report = Callable[[int, int | None], None]
"""Told the bytes that are there and, when it is known, how many there will be."""


class AddressError(Exception):
    """This address cannot give the file; another one may, or, if `transient`, this one later."""

    def __init__(self, message: str, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class TransferError(Exception):
    """The transfer broke off or was put off; the same request may well succeed later."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StalePartError(Exception):
    """What is there already is no beginning of what the server has now."""


class PartialFile:
    """A file or folder on its way, and a note beside it that says where its bytes are from.

    The note holds `address`, `validator` (a strong ETag or a Last-Modified date, for If-Range) and `total`
    (bytes).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.note_path = path.with_name(f"{path.name}.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def note(self) -> dict[str, str | int | None]:
        try:
            return json.loads(self.note_path.read_bytes())
        except (FileNotFoundError, ValueError):  # nothing is known, so nothing is trusted
            return {}

    def begin(self, address: str, validator: str | None = None, total: int | None = None) -> None:
        """Forget the bytes of before, and note where the coming ones are from."""
        self.path.unlink(missing_ok=True)
        note = {"address": address, "validator": validator, "total": total}
        write_atomically(self.note_path, canonical_json(note))

    def discard(self) -> None:
        if self.path.is_dir():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)
        self.note_path.unlink(missing_ok=True)

    def validator(self, address: str) -> str | None:
        """What `address` must still answer with for these bytes to be the beginning of its file."""
        note = self.note
        return note.get("validator") if note.get("address") == address else None

    def resumable(self, source: Source) -> bool:
        """Whether a later attempt can continue from these bytes and know that the whole is right."""
        return self.size > 0 and bool(source.sha256 or self.note.get("validator"))

    def complete(self, source: Source) -> bool:
        """Whether an earlier attempt had brought the whole file, which only a known SHA-256 can tell."""
        whole = self.size > 0 and self.size == self.note.get("total")
        return whole and source.sha256 is not None and fault_in(self.path, source) is None


def fault_in(path: Path, source: Source, digest: str | None = None) -> str | None:
    """What is wrong with a file that should be `source`, or None; `digest` is its SHA-256, if known."""
    size = path.stat().st_size
    if size == 0:
        return "is empty"
    if source.size is not None and size != source.size:
        return f"has {size} bytes instead of {source.size}"
    if source.sha256 is not None and (found := digest or sha256_of(path)) != source.sha256:
        return f"has the SHA-256 {found} instead of {source.sha256}"
    return None


def download_file(
    address: str, part: PartialFile, source: Source, *, timeout: float, attempts: int, report: Report
) -> None:
    """Bring the file at `address` into `part`, whole and with the source's size and SHA-256.

    `timeout` is in seconds without a byte. Raises AddressError when this address cannot give the file,
    and StageError when the disk has no room for it. A part that can be continued is kept.
    """
    _check(address)
    with _client(timeout, address) as client:
        for last in (False, True):
            continued = _persist(client, address, part, source, attempts, report)
            fault = fault_in(part.path, source)
            if fault is None:
                return
            part.discard()
            # The fault may be in the bytes of an earlier attempt: an address is judged by its own bytes.
            if last or not continued:
                raise AddressError(fault)


def _check(address: str) -> None:
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as error:
        raise AddressError(f"is not an address: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise AddressError("is not an http:// or https:// address")
    if url.userinfo:
        raise AddressError("carries a user name or password, which is not sent; remove it")


def _client(timeout: float, address: str) -> httpx.Client:
    """A client for the file at an address; a request that leads into a private network is not sent."""
    first = httpx.URL(address).host

    def stay_outside(request: httpx.Request) -> None:
        if request.url.host != first and is_private(request.url.host) and not is_private(first):
            raise AddressError(f"leads to {request.url.host}, an address of a private network")

    return httpx.Client(
        follow_redirects=True,
        max_redirects=MAX_REDIRECTS,
        timeout=timeout,
        event_hooks={"request": [stay_outside]},
        # A compressed answer has other offsets and another length than the file.
        headers={"Accept-Encoding": "identity", "User-Agent": "touchstone"},
        trust_env=takes_proxy(address),
    )


def is_private(host: str) -> bool:
    """Whether a name leads to this machine, its networks, or what a cloud tells its own machines."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:  # nothing is there, or a proxy knows it
        return False
    return any(not ip_address(each[4][0].partition("%")[0]).is_global for each in found)


def _persist(
    client: httpx.Client, address: str, part: PartialFile, source: Source, attempts: int, report: Report
) -> bool:
    """Transfer with retries; says whether the last attempt continued what was there before it."""
    for attempt in range(1, attempts + 1):
        try:
            return _transfer(client, address, part, source, report)
        except TransferError as error:
            if attempt == attempts:
                raise AddressError(f"{error}, in the last of {attempts} attempts", transient=True) from error
            delay = _delay(attempt, error)
            log.warning("%s: %s; attempt %d of %d in %.1f s", address, error, attempt + 1, attempts, delay)
            time.sleep(delay)
    raise AssertionError("attempts is positive")


def _delay(attempt: int, error: TransferError) -> float:
    """Seconds to wait after a failed attempt: what the server asks for, else growing, with jitter."""
    if error.retry_after is None:
        return min(MAX_DELAY, BASE_DELAY * 2 ** (attempt - 1)) * random.uniform(0.5, 1.5)
    if error.retry_after > MAX_RETRY_AFTER:
        raise AddressError(f"{error}, and asks to wait {error.retry_after:.0f} s") from error
    return error.retry_after


def _transfer(client: httpx.Client, address: str, part: PartialFile, source: Source, report: Report) -> bool:
    """One request, or two when the part proves stale; says whether it continued the part."""
    headers = _range(address, part, source)
    try:
        with client.stream("GET", address, headers=headers) as response:
            offset = _offset(response, address, part, bool(headers))
            if offset is not None:
                _receive(response, address, part, source, offset, report)
            return offset != 0
    except StalePartError:
        part.discard()  # so the next request asks for the whole file
        return _transfer(client, address, part, source, report)
    except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.TooManyRedirects) as error:
        raise AddressError(f"cannot be followed: {error}") from error
    except httpx.TransportError as error:
        raise TransferError(f"{type(error).__name__}: {error}{through(address)}") from error


def _range(address: str, part: PartialFile, source: Source) -> dict[str, str]:
    validator = part.validator(address)
    if part.size == 0 or not (source.sha256 or validator):
        return {}
    headers = {"Range": f"bytes={part.size}-"}
    return headers | {"If-Range": validator} if validator else headers


def _offset(response: httpx.Response, address: str, part: PartialFile, asked_to_continue: bool) -> int | None:
    """Where the body begins in the file; None when the server has nothing to add to the part."""
    status = response.status_code
    if status in (408, 429) or status >= 500:
        raise TransferError(f"status {status} {response.reason_phrase}", _retry_after(response))
    if status == 200:
        return 0
    if asked_to_continue and status == 416:
        if response.headers.get("Content-Range", "").strip() == f"bytes */{part.size}":
            return None
        raise StalePartError
    if asked_to_continue and status == 206:
        _check_continuation(response, address, part)
        return part.size
    raise AddressError(f"status {status} {response.reason_phrase}")


def _check_continuation(response: httpx.Response, address: str, part: PartialFile) -> None:
    start, total = _content_range(response)
    known = part.note.get("total")
    validator = part.validator(address)
    if start != part.size or (known and total and known != total):
        raise StalePartError
    if validator and _validator(response) not in (None, validator):  # a server that ignores If-Range
        raise StalePartError


def _content_range(response: httpx.Response) -> tuple[int | None, int | None]:
    """First byte and total of a 206, each None where it is not said."""
    found = re.fullmatch(r"\s*bytes (\d+)-\d+/(\d+|\*)\s*", response.headers.get("Content-Range", ""))
    if found is None:
        return None, None
    return int(found[1]), None if found[2] == "*" else int(found[2])


def _validator(response: httpx.Response) -> str | None:
    etag = response.headers.get("ETag")
    if etag and not etag.startswith("W/"):  # If-Range takes no weak one (RFC 9110, 13.1.5)
        return etag
    return response.headers.get("Last-Modified")


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds; the header holds those, or a date (RFC 9110, 10.2.3)."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _receive(
    response: httpx.Response, address: str, part: PartialFile, source: Source, offset: int, report: Report
) -> None:
    total = _total(response, part, offset)
    if source.size is not None and total not in (None, source.size):
        raise AddressError(f"has {total} bytes instead of {source.size}")
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity" and source.sha256 is None:
        raise AddressError(f"answers with {encoding} content although the plain file was asked for")
    total = total if total is not None else source.size
    require_space(part.path.parent, (total or 0) - offset, source.name)
    if offset == 0:
        part.begin(address, _validator(response), total)
    done = _append(response, part, source, offset, total, report)
    if total is not None and done < total:
        raise TransferError(f"the body ended after {done} of {total} bytes")


def _total(response: httpx.Response, part: PartialFile, offset: int) -> int | None:
    if offset:
        return _content_range(response)[1] or part.note.get("total")
    length = response.headers.get("Content-Length")
    return int(length) if length is not None else None


def _append(
    response: httpx.Response,
    part: PartialFile,
    source: Source,
    offset: int,
    total: int | None,
    report: Report,
) -> int:
    """Write the body to the part as it comes, and return how many bytes the part then has."""
    done = offset
    patience = float(response.request.extensions["timeout"]["read"])
    since, before = time.monotonic(), offset
    with part.path.open("ab") as file:
        for chunk in response.iter_raw():
            file.write(chunk)
            done += len(chunk)
            report(done, total)
            if source.size is not None and done > source.size:
                break  # an endless body must not fill the disk; the size check says what is wrong
            if total is None and done > MAX_BYTES:
                part.discard()
                raise AddressError(f"sends over {MAX_BYTES} bytes and does not say how many there will be")
            if (now := time.monotonic()) - since > patience:
                if done - before < SLOWEST * (now - since):
                    raise TransferError(f"{done - before} bytes came in {now - since:.0f} s")
                require_space(part.path.parent, max(0, (total or 0) - done), source.name)
                since, before = now, done
        file.flush()
        os.fsync(file.fileno())
    return done
