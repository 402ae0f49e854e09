"""The download stage, against a loopback server with faults: nothing half-written, nothing unverified."""

import errno
import hashlib
import io
import json
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import time
import types
import zipfile
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path, PurePosixPath
from pkgutil import resolve_name

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.config import MAKERS, DownloadConfig
from tasks.download import http
from tasks.download.hub import json_lines
from tasks.download.stage import download, fingerprints
from tasks.errors import StageError, UsageError
from tasks.machine import disk, unzip
from tasks.record.manifest import sha256_of_tree
from tasks.record.stage import StageRun
from tests.http_server import FaultyServer, Reply

BODY = random.Random(0).randbytes(300_000)
OTHER = random.Random(1).randbytes(300_000)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(autouse=True)
def _no_proxy_and_no_waiting(monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setattr(http, "BASE_DELAY", 0.001)


@pytest.fixture
def server():
    with FaultyServer().running() as running:
        yield running


@pytest.fixture
def run(tmp_path):
    return stage_run(tmp_path)


def stage_run(folder, **options):
    return StageRun(
        out=folder / "out", auxiliary=folder / "auxiliary", checkpoint=folder / "checkpoint", **options
    )


def config(*sources, **options):
    return DownloadConfig.model_validate({"sources": list(sources), "timeout": 5, **options})


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def failure(settings: DownloadConfig, run: StageRun, kind=StageError) -> str:
    """The message of a download that must fail and leave nothing under a final name."""
    with pytest.raises(kind) as caught:
        download(settings, run)
    assert list(run.out.iterdir()) == []
    return str(caught.value)


# Whole and continued


def test_a_file_arrives_whole_and_is_reported(server, tmp_path):
    reports, datasets = [], []
    run = stage_run(tmp_path, progress=lambda *report: reports.append(report))
    run.log_dataset = lambda *args, **profile: datasets.append((args, profile))
    address = server.on("/a.bin", Reply(BODY))
    download(config({"urls": [address], "sha256": sha(BODY), "size": len(BODY)}), run)
    assert contents(run.out) == {"a.bin": BODY}
    assert contents(run.checkpoint) == {}
    assert reports[-1] == (len(BODY), len(BODY), "bytes", "a.bin")
    assert run.metrics == {"bytes": len(BODY), "files": 1}
    assert datasets == [(("a.bin", sha(BODY), address, "source"), {"bytes": len(BODY), "files": 1})]


def test_hashing_and_unpacking_are_told(server, tmp_path):
    told = []
    run = stage_run(tmp_path, phase=told.append)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.txt", "a")
    address = server.on("/a.zip", Reply(packed.getvalue()))
    download(config({"urls": [address], "unzip": True}), run)
    assert told == ["hashing a.zip", "unpacking a.zip"]


def test_progress_is_throttled(server, tmp_path):
    reports = []
    run = stage_run(tmp_path, progress=lambda *report: reports.append(report))
    download(config({"urls": [server.on("/a.bin", Reply(BODY * 20))]}), run)
    assert len(reports) < 40


@pytest.mark.parametrize("known", [{"sha256": sha(BODY)}, {}], ids=["sha256", "etag only"])
def test_a_cut_connection_is_resumed_where_it_broke(server, run, known):
    address = server.on("/a.bin", Reply(BODY, cut=100_000), Reply(BODY))
    download(config({"urls": [address]} | known), run)
    assert contents(run.out) == {"a.bin": BODY}
    assert "Range" not in server.requests[0].headers
    assert server.requests[1].headers["Range"] == "bytes=100000-"
    assert server.requests[1].headers["If-Range"] == '"v1"'


def test_a_later_attempt_resumes_what_a_failed_one_left(server, tmp_path):
    address = server.on("/a.bin", Reply(BODY, cut=100_000))
    settings = config({"urls": [address]}, attempts=1)
    failure(settings, stage_run(tmp_path))
    server.on("/a.bin", Reply(BODY))
    run = stage_run(tmp_path)
    download(settings, run)
    assert contents(run.out) == {"a.bin": BODY}
    assert server.requests[-1].headers["Range"] == "bytes=100000-"


def test_complete_sources_are_not_fetched_again_after_a_failure(server, tmp_path):
    sources = [
        {"urls": [server.on("/with-sha.bin", Reply(BODY))], "sha256": sha(BODY)},
        {"urls": [server.on("/with-etag.bin", Reply(OTHER))]},
        {"urls": [server.on("/late.bin", Reply(status=404))]},
    ]
    failure(config(*sources), stage_run(tmp_path))
    server.on("/late.bin", Reply(b"late"))
    server.requests.clear()
    run = stage_run(tmp_path)
    download(config(*sources), run)
    assert contents(run.out) == {"with-sha.bin": BODY, "with-etag.bin": OTHER, "late.bin": b"late"}
    assert [request.path for request in server.requests] == ["/with-etag.bin", "/late.bin"]
    assert server.requests[0].headers["Range"] == f"bytes={len(OTHER)}-"


def test_a_server_that_ignores_range_starts_over(server, run):
    address = server.on("/a.bin", Reply(BODY, cut=100_000), Reply(BODY, ranges=False))
    download(config({"urls": [address]}), run)
    assert contents(run.out) == {"a.bin": BODY}


def test_a_file_that_changed_between_attempts_is_not_stitched(server, run):
    address = server.on("/a.bin", Reply(BODY, cut=100_000), Reply(OTHER, etag='"v2"'))
    download(config({"urls": [address]}), run)
    assert contents(run.out) == {"a.bin": OTHER}
    assert server.requests[1].headers["If-Range"] == '"v1"'


def test_changed_file_is_not_stitched_if_range_is_ignored(server, run):
    changed = Reply(OTHER, etag='"v2"')
    address = server.on("/a.bin", Reply(BODY, cut=100_000), changed)
    server._start = lambda handler, reply: 100_000 if "Range" in handler.headers else None
    download(config({"urls": [address]}), run)
    assert contents(run.out) == {"a.bin": OTHER}


def test_a_206_with_another_start_is_not_appended(server, run):
    address = server.on("/a.bin", Reply(BODY, cut=100_000), Reply(BODY, shift=-1), Reply(BODY))
    download(config({"urls": [address]}), run)
    assert contents(run.out) == {"a.bin": BODY}
    assert "Range" not in server.requests[2].headers


def test_a_416_for_another_length_starts_over(server, run):
    address = server.on("/a.bin", Reply(BODY, cut=100_000), Reply(BODY[:5000]))
    download(config({"urls": [address]}), run)
    assert contents(run.out) == {"a.bin": BODY[:5000]}


def test_cut_file_without_validator_or_sha256_starts_over(server, run):
    weak = 'W/"v1"'
    address = server.on("/a.bin", Reply(BODY, cut=100_000, etag=weak), Reply(BODY, etag=weak))
    download(config({"urls": [address]}), run)
    assert contents(run.out) == {"a.bin": BODY}
    assert "Range" not in server.requests[1].headers


def test_last_modified_serves_as_validator(server, run):
    dated = {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
    replies = (Reply(BODY, cut=100_000, etag=None, headers=dated), Reply(BODY, etag=None, headers=dated))
    download(config({"urls": [server.on("/a.bin", *replies)]}), run)
    assert contents(run.out) == {"a.bin": BODY}
    assert server.requests[1].headers["If-Range"] == dated["Last-Modified"]


def test_pitfall_3_corrupt_part_of_an_old_attempt_is_not_trusted(server, run):
    (run.checkpoint / "a.bin.part").write_bytes(b"x" * 100_000)
    address = server.on("/a.bin", Reply(BODY))
    download(config({"urls": [address], "sha256": sha(BODY)}), run)
    assert contents(run.out) == {"a.bin": BODY}
    assert ["Range" in request.headers for request in server.requests] == [True, False]


def test_pitfall_3_a_part_as_long_as_the_file_is_not_trusted(server, run):
    (run.checkpoint / "a.bin.part").write_bytes(b"x" * len(BODY))
    download(config({"urls": [server.on("/a.bin", Reply(BODY))], "sha256": sha(BODY)}), run)
    assert contents(run.out) == {"a.bin": BODY}


def test_pitfall_3_a_part_longer_than_the_file_is_not_trusted(server, run):
    (run.checkpoint / "a.bin.part").write_bytes(BODY + b"more")
    download(config({"urls": [server.on("/a.bin", Reply(BODY))], "sha256": sha(BODY)}), run)
    assert contents(run.out) == {"a.bin": BODY}


def test_pitfall_3_part_of_unknown_origin_is_not_continued(server, run):
    (run.checkpoint / "a.bin.part").write_bytes(b"x" * 100_000)
    download(config({"urls": [server.on("/a.bin", Reply(BODY))]}), run)
    assert contents(run.out) == {"a.bin": BODY}
    assert "Range" not in server.requests[0].headers


def test_part_with_a_known_sha256_continues_at_the_next_address(server, run):
    first = server.on("/first/a.bin", Reply(BODY, cut=100_000))
    second = server.on("/second/a.bin", Reply(BODY, etag='"elsewhere"'))
    download(config({"urls": [first, second], "sha256": sha(BODY)}, attempts=1), run)
    assert contents(run.out) == {"a.bin": BODY}
    assert server.requests[1].headers["Range"] == "bytes=100000-"
    assert "If-Range" not in server.requests[1].headers


def test_a_server_that_always_cuts_and_lies_is_given_up(server, run):
    address = server.on("/a.bin", Reply(OTHER, cut=200_000))
    message = failure(config({"urls": [address], "sha256": sha(BODY)}, attempts=3), run)
    assert sha(OTHER) in message
    assert len(server.requests) == 4  # cut and continued, and both once more from the beginning


# Retries, and their limits


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_busy_server_is_asked_again(server, run, status):
    download(config({"urls": [server.on("/a.bin", Reply(status=status), Reply(BODY))]}), run)
    assert contents(run.out) == {"a.bin": BODY}
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [401, 403, 404, 410, 204])
def test_an_answer_that_will_not_change_is_not_asked_for_again(server, run, status):
    address = server.on("/a.bin", Reply(status=status))
    message = failure(config({"urls": [address]}), run)
    assert f"{address}: status {status}" in message
    assert len(server.requests) == 1


def test_attempts_are_counted_per_address(server, run):
    first, second = server.on("/1/a.bin", Reply(status=503)), server.on("/2/a.bin", Reply(status=500))
    message = failure(config({"urls": [first, second]}, attempts=3), run)
    assert [request.path for request in server.requests] == ["/1/a.bin"] * 3 + ["/2/a.bin"] * 3
    assert f"{first}: status 503" in message
    assert f"{second}: status 500" in message


def test_a_short_body_is_retried_and_then_reported(server, run):
    address = server.on("/a.bin", Reply(BODY, cut=1000, ranges=False))
    message = failure(config({"urls": [address]}, attempts=2), run)
    assert len(server.requests) == 2
    assert f"{address}: RemoteProtocolError" in message
    assert "received 1000 bytes, expected 300000" in message


def test_short_body_without_a_length_is_caught_by_declared_size(server, run):
    address = server.on("/a.bin", Reply(BODY, cut=1000, length=False), Reply(BODY))
    download(config({"urls": [address], "size": len(BODY)}), run)
    assert contents(run.out) == {"a.bin": BODY}


def test_wrong_declared_size_is_an_error_before_any_byte_is_kept(server, run):
    address = server.on("/a.bin", Reply(BODY))
    message = failure(config({"urls": [address], "size": 7}), run)
    assert f"{address}: has 300000 bytes instead of 7" in message
    assert len(server.requests) == 1
    assert contents(run.checkpoint) == {}


def test_a_body_without_end_stops_at_the_declared_size(server, tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.download.stage.PROGRESS_EVERY", 0)
    reports = []
    run = stage_run(tmp_path, progress=lambda done, *rest: reports.append(done))
    address = server.on("/a.bin", Reply(BODY * 30, length=False))
    assert "instead of 7" in failure(config({"urls": [address], "size": 7}), run)
    assert max(reports) < len(BODY)
    assert contents(run.checkpoint) == {}


def test_endless_body_stops_where_no_file_is_so_large(server, run, monkeypatch):
    monkeypatch.setattr(http, "MAX_BYTES", 200_000)
    address = server.on("/a.bin", Reply(BODY * 30, length=False))
    assert "sends over 200000 bytes and does not say how many" in failure(config({"urls": [address]}), run)
    assert contents(run.checkpoint) == {}
    assert len(server.requests) == 1


def test_a_body_that_drips_is_given_up_like_one_that_stops(server, run):
    """Each byte comes in time, and the file would in years."""
    address = server.on("/a.bin", Reply(BODY, drip=0.02))
    started = time.monotonic()
    told = failure(config({"urls": [address]}, timeout=0.3, attempts=2), run)
    assert time.monotonic() - started < 10
    assert re.search(r"\d+ bytes came in 0 s, in the last of 2 attempts", told)


def test_what_is_slow_and_not_too_slow_arrives(server, run, monkeypatch):
    monkeypatch.setattr(http, "SLOWEST", 10)
    address = server.on("/a.bin", Reply(b"some bytes that are waited for", drip=0.02))
    download(config({"urls": [address]}, timeout=0.3), run)
    assert contents(run.out) == {"a.bin": b"some bytes that are waited for"}


def test_an_empty_body_is_no_file(server, run):
    assert "is empty" in failure(config({"urls": [server.on("/a.bin", Reply(b""))]}), run)


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(server, run, monkeypatch, form):
    waits = []
    clock = types.SimpleNamespace(
        monotonic=time.monotonic, sleep=waits.append
    )  # threads of others sleep as ever
    monkeypatch.setattr(http, "time", clock)
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=8), usegmt=True)
    asked = Reply(status=429, headers={"Retry-After": "7" if form == "seconds" else later})
    download(config({"urls": [server.on("/a.bin", asked, Reply(BODY))]}), run)
    assert len(waits) == 1
    assert 6 <= waits[0] <= 8


def test_server_that_asks_to_wait_too_long_is_left_for_the_next(server, run):
    first = server.on("/1/a.bin", Reply(status=503, headers={"Retry-After": "86400"}))
    second = server.on("/2/a.bin", Reply(BODY))
    download(config({"urls": [first, second]}), run)
    assert [request.path for request in server.requests] == ["/1/a.bin", "/2/a.bin"]


def test_delays_grow_and_differ():
    error = http.TransferError("cut")
    for attempt in range(1, 5):
        delays = {http._delay(attempt, error) for _ in range(20)}
        assert len(delays) > 1
        assert all(0.5 <= delay / (http.BASE_DELAY * 2 ** (attempt - 1)) <= 1.5 for delay in delays)


def test_a_server_that_is_not_there_is_named(run, server):
    with FaultyServer().running() as gone:
        address = gone.url + "/a.bin"
    message = failure(config({"urls": [address]}, attempts=2), run)
    assert f"{address}: ConnectError" in message
    assert "in the last of 2 attempts" in message
    assert "--mirror" in message


def test_a_server_that_says_nothing_times_out(server, run):
    stuck = server.on("/stuck/a.bin", Reply(BODY))
    other = server.on("/a.bin", Reply(BODY))
    answer = server.answer

    def slow(handler):
        if handler.path.startswith("/stuck"):
            handler.rfile.read(1)  # until the client gives up
        else:
            answer(handler)

    server.answer = slow
    download(config({"urls": [stuck, other]}, timeout=0.2, attempts=2), run)
    assert contents(run.out) == {"a.bin": BODY}
    assert [request.path for request in server.requests] == ["/stuck/a.bin"] * 2 + ["/a.bin"]


# Which addresses


def test_a_missing_file_is_had_from_the_next_address(server, run):
    missing, good = server.on("/1/a.bin", Reply(status=404)), server.on("/2/a.bin", Reply(BODY))
    download(config({"urls": [missing, good]}), run)
    assert contents(run.out) == {"a.bin": BODY}


def test_a_file_with_a_wrong_sha256_is_had_from_the_next_address(server, run):
    wrong, good = server.on("/1/a.bin", Reply(OTHER)), server.on("/2/a.bin", Reply(BODY))
    download(config({"urls": [wrong, good], "sha256": sha(BODY)}), run)
    assert contents(run.out) == {"a.bin": BODY}
    assert [request.path for request in server.requests] == ["/1/a.bin", "/2/a.bin"]
    assert "Range" not in server.requests[1].headers


def test_when_all_fail_one_error_lists_what_was_wrong_with_each(server, run, tmp_path):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "a.bin").write_bytes(b"old")
    wrong, missing = server.on("/1/a.bin", Reply(OTHER)), server.on("/2/a.bin", Reply(status=404))
    urls = [wrong, missing, "ftp://127.0.0.1/a.bin"]
    message = failure(config({"urls": urls, "sha256": sha(BODY)}, mirror=str(mirror)), run)
    assert message.splitlines() == [
        "a.bin could not be downloaded:",
        f"  {mirror / 'a.bin'}: has the SHA-256 {sha(b'old')} instead of {sha(BODY)}",
        f"  {wrong}: has the SHA-256 {sha(OTHER)} instead of {sha(BODY)}",
        f"  {missing}: status 404 Not Found",
        "  ftp://127.0.0.1/a.bin: is not an http:// or https:// address",
        "Check the network, or pass --mirror DIR_OR_URL with a folder or base address that has the file.",
    ]
    assert contents(run.checkpoint) == {}


@pytest.mark.parametrize("address", ["file:///etc/passwd", "http://", "http://a:b/x", "gopher://127.0.0.1/x"])
def test_only_http_addresses_are_asked(run, address):
    assert f"{address}: is not an" in failure(config({"urls": [address], "name": "x"}), run)


def test_credentials_in_an_address_are_not_sent(server, run):
    address = server.on("/a.bin", Reply(BODY)).replace("http://", "http://me:secret@")
    assert "carries a user name or password" in failure(config({"urls": [address]}), run)
    assert server.requests == []


def test_redirects_are_followed_but_not_for_ever(server, run):
    there = server.on("/there.bin", Reply(BODY))
    here = server.on("/a.bin", Reply(status=302, headers={"Location": there}))
    download(config({"urls": [here]}), run)
    assert contents(run.out) == {"a.bin": BODY}
    server.requests.clear()
    loop = server.on("/loop.bin", Reply(status=302, headers={"Location": "/loop.bin"}))
    with pytest.raises(StageError, match="redirects"):
        download(config({"urls": [loop]}), run)
    assert len(server.requests) == http.MAX_REDIRECTS + 1


def test_a_server_outside_does_not_lead_into_a_private_network(server, run, monkeypatch):
    """A cloud tells its machines' keys to whoever asks at an address of theirs."""
    inside = server.on("/keys", Reply(BODY))
    address = server.on(
        "/a.bin", Reply(status=302, headers={"Location": inside.replace("127.0.0.1", "localhost")})
    )
    monkeypatch.setattr(http, "is_private", lambda host: host == "localhost")
    assert "leads to localhost, an address of a private network" in failure(config({"urls": [address]}), run)
    assert [request.path for request in server.requests] == ["/a.bin"]
    monkeypatch.undo()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    download(config({"urls": [address]}), run)  # a server inside leads where it likes


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("10.0.0.5", True),
        ("192.168.1.1", True),
        ("169.254.169.254", True),
        ("fe80::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", True),
        ("1.1.1.1", False),
        ("2606:4700:4700::1111", False),
    ],
)
def test_private_addresses_are_known(host, private):
    assert http.is_private(host) is private


def test_a_redirect_to_another_scheme_is_refused(server, run):
    address = server.on("/a.bin", Reply(status=302, headers={"Location": "file:///etc/passwd"}))
    assert "cannot be followed" in failure(config({"urls": [address]}), run)
    assert len(server.requests) == 1


def test_compressed_content_is_not_mistaken_for_the_file(server, run):
    address = server.on("/a.txt", Reply(BODY, headers={"Content-Encoding": "gzip"}))
    assert "answers with gzip content" in failure(config({"urls": [address]}), run)
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


# Mirrors


@pytest.mark.parametrize("place", ["data/a.bin", "a.bin"])
def test_a_mirror_folder_is_looked_in_first(server, run, tmp_path, place):
    file = tmp_path / "mirror" / place
    file.parent.mkdir(parents=True)
    file.write_bytes(BODY)
    source = {"name": "data/a.bin", "urls": [server.on("/a.bin", Reply(OTHER))], "sha256": sha(BODY)}
    download(config(source, mirror=str(tmp_path / "mirror")), run)
    assert contents(run.out) == {"data/a.bin": BODY}
    assert server.requests == []
    assert not (run.out / "data/a.bin").samefile(file)


@pytest.mark.parametrize("held", [None, OTHER, b""], ids=["nothing", "another file", "an empty file"])
def test_mirror_folder_without_the_right_file_is_passed_over(server, run, tmp_path, held):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    if held is not None:
        (mirror / "a.bin").write_bytes(held)
    source = {"urls": [server.on("/a.bin", Reply(BODY))], "sha256": sha(BODY)}
    download(config(source, mirror=str(mirror)), run)
    assert contents(run.out) == {"a.bin": BODY}
    assert "Range" not in server.requests[0].headers


def test_a_mirror_address_is_asked_first(server, run):
    server.on("/mirror/my%20data/a.bin", Reply(BODY))
    source = {"name": "my data/a.bin", "urls": [server.on("/a.bin", Reply(OTHER))]}
    download(config(source, mirror=server.url + "/mirror/"), run)
    assert contents(run.out) == {"my data/a.bin": BODY}
    assert [request.path for request in server.requests] == ["/mirror/my%20data/a.bin"]


def test_a_mirror_address_that_lacks_the_file_is_passed_over(server, run):
    source = {"urls": [server.on("/a.bin", Reply(BODY))]}
    download(config(source, mirror=server.url + "/mirror"), run)
    assert contents(run.out) == {"a.bin": BODY}
    assert [request.path for request in server.requests] == ["/mirror/a.bin", "/a.bin"]


@pytest.mark.parametrize("mirror", ["/no/such/folder", "s3://bucket/data"])
def test_mirror_that_is_no_folder_and_no_address_is_wrong_usage(run, mirror):
    settings = config({"made": "python-reference"}, mirror=mirror)
    with pytest.raises(UsageError, match=mirror):
        fingerprints(settings)
    assert mirror in failure(settings, run, UsageError)


# Disk space


def test_space_is_asked_for_before_writing(server, run, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=1000))
    message = failure(config({"urls": [server.on("/a.bin", Reply(BODY))]}), run)
    assert "needs 300000 bytes" in message
    assert "1000 are free" in message
    assert len(server.requests) == 1
    assert contents(run.checkpoint) == {}


@pytest.mark.parametrize(("known", "kept"), [({"sha256": sha(BODY)}, True), ({}, False)])
def test_full_disk_is_reported_and_only_a_resumable_part_is_kept(server, run, monkeypatch, known, kept):
    def full(response, part, *args):
        part.path.write_bytes(BODY[:1000])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(http, "_append", full)
    message = failure(config({"urls": [server.on("/a.bin", Reply(BODY, etag=None))]} | known), run)
    assert "the disk was full while a.bin was written" in message
    assert (run.checkpoint / "a.bin.part").exists() == kept


def test_a_full_disk_is_not_told_as_another_error(tmp_path):
    with (
        pytest.raises(StageError, match=r"a\.bin cannot be brought .* denied"),
        disk.writing("a.bin", tmp_path),
    ):
        raise PermissionError(errno.EACCES, "denied")


# Archives


def zip_of(path: Path, entries: dict) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def zip_source(path: Path) -> dict:
    return {"path": path, "unzip": True}


def test_a_downloaded_archive_becomes_a_folder(server, run, tmp_path):
    archive = zip_of(tmp_path / "data.zip", {"a.txt": "a", "sub/": "", "sub/ä.txt": "ä", "empty.txt": ""})
    address = server.on("/data.zip", Reply(archive.read_bytes()))
    download(DownloadConfig.model_validate(address), run)
    assert contents(run.out) == {"data/a.txt": b"a", "data/sub/ä.txt": "ä".encode(), "data/empty.txt": b""}
    assert contents(run.checkpoint) == {}


@pytest.mark.parametrize(
    "name",
    [
        "../out.txt",
        "a/../../out.txt",
        "/abs.txt",
        "C:/drive.txt",
        "c:drive.txt",
        "a\\..\\..\\out.txt",
        "\\\\host\\x",
    ],
)
def test_pitfall_4_an_entry_that_climbs_out_is_refused(run, tmp_path, name):
    entry = zipfile.ZipInfo("placeholder")
    entry.filename = name
    archive = zip_of(tmp_path / "evil.zip", {"good.txt": "x", entry: "x"})
    before = set(tmp_path.rglob("*"))
    message = failure(config(zip_source(archive)), run)
    assert "evil.zip was not extracted: its entry" in message
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("kind", "words"), [(stat.S_IFLNK, "symbolic link"), (stat.S_IFIFO, "neither a file")]
)
def test_pitfall_4_links_and_devices_in_an_archive_are_refused(run, tmp_path, kind, words):
    entry = zipfile.ZipInfo("link")
    entry.external_attr = (kind | 0o777) << 16
    archive = zip_of(tmp_path / "evil.zip", {entry: "/etc/passwd"})
    assert f"its entry 'link' is {'a ' if kind == stat.S_IFLNK else ''}{words}" in failure(
        config(zip_source(archive)), run
    )


def test_an_encrypted_entry_is_refused(run, tmp_path):
    archive = zip_of(tmp_path / "a.zip", {"a.txt": "x"})
    data = bytearray(archive.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    assert "its entry 'a.txt' is encrypted" in failure(config(zip_source(archive)), run)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("a.txt", "a.txt"), ("a.txt", "./a.txt"), ("a", "a/")])
def test_an_entry_that_is_there_twice_is_refused(run, tmp_path, names):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in names:
            archive.writestr(name, "")
    assert "is there twice" in failure(config(zip_source(tmp_path / "a.zip")), run)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"a": "x", "a/b": "x"}, "its entry 'a' is a file, and the folder of 'a/b' as well. Use an archive"),
        ({"a/b/c": "x", "a/b": "x"}, "its entry 'a/b' is a file, and the folder of 'a/b/c' as well"),
        ({"n" * 300: "x"}, "nnn...' has a name of 300 bytes, and a file's has at most 255"),
        ({"é" * 128 + "/a": "x"}, "has a name of 256 bytes, and a file's has at most 255"),
        ({"n/" * 2100 + "a": "x"}, "bytes, and at most 4095 are possible"),
        ({"a/": "", "A": "x", "a\0b": "x"}, "has a backslash or a NUL in its name"),
    ],
)
def test_an_entry_that_no_disk_can_hold_is_refused_with_its_name(run, tmp_path, entries, message):
    placeholders = {zipfile.ZipInfo(f"{number}"): text for number, text in enumerate(entries.values())}
    for entry, name in zip(placeholders, entries, strict=True):
        entry.filename = name  # whose constructor cuts a name at a NUL
    archive = zip_of(tmp_path / "a.zip", placeholders)
    told = failure(config(zip_source(archive)), run)
    assert told.startswith("a.zip was not extracted: its entry ")
    assert message in told
    assert contents(run.checkpoint) == {}


@pytest.mark.parametrize("second", ["A.txt", "A.txt/b", "A.txt/"])
def test_names_that_a_disk_holds_to_be_one_are_refused(run, tmp_path, monkeypatch, second):
    """As on macOS, where `a.txt` and `A.txt` are one file."""
    archive = zip_of(tmp_path / "a.zip", {"a.txt": "x", second: ""})
    real = Path.__truediv__
    monkeypatch.setattr(Path, "__truediv__", lambda path, key: real(path, _small(key)))
    told = failure(config(zip_source(archive)), run)
    assert f"its entry {second!r} is on this disk the same file as another entry" in told


def _small(key):
    return PurePosixPath(str(key).lower()) if isinstance(key, PurePosixPath) else key


def test_an_archive_may_name_the_folder_that_it_is(run, tmp_path):
    download(config(zip_source(zip_of(tmp_path / "a.zip", {"./": "", "./b.txt": "x"}))), run)
    assert contents(run.out) == {"a/b.txt": b"x"}


def test_an_archive_that_unpacks_to_too_much_is_refused(run, tmp_path, monkeypatch):
    archive = zip_of(tmp_path / "bomb.zip", {"a.txt": "x" * 5000, "b.txt": "x" * 5000})
    monkeypatch.setattr(unzip, "MAX_BYTES", 9_999)
    assert "it unpacks to 10000 bytes, and at most 9999" in failure(config(zip_source(archive)), run)


def test_an_archive_with_the_ratio_of_a_bomb_is_refused(run, tmp_path, monkeypatch):
    archive = zip_of(tmp_path / "bomb.zip", {"zeros": bytes(10_000_000)})
    monkeypatch.setattr(unzip, "RATIO_MATTERS_FROM", 1_000_000)
    monkeypatch.setattr(unzip, "MAX_RATIO", 500)
    assert "would unpack to 10000000" in failure(config(zip_source(archive)), run)


def test_entry_with_more_bytes_than_declared_is_not_extracted(run, tmp_path):
    archive = zip_of(tmp_path / "a.zip", {"a.txt": "x" * 5000})
    data = bytearray(archive.read_bytes())
    central = data.index(b"PK\x01\x02")
    data[central + 24 : central + 28] = (100).to_bytes(4, "little")
    archive.write_bytes(data)
    assert "a.zip" in failure(config(zip_source(archive)), run)


def test_more_bytes_than_were_checked_are_not_written(run, tmp_path, monkeypatch):
    archive = zip_of(tmp_path / "a.zip", {"a.txt": "x" * 50})
    endless = io.BytesIO(b"x" * 5000)
    endless.close = lambda: None
    monkeypatch.setattr(unzip, "CHUNK", 10)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *args: endless)
    assert "declares 50 bytes and has more" in failure(config(zip_source(archive)), run)
    assert endless.tell() == 60


def test_the_room_for_what_an_archive_unpacks_to_is_asked_for(run, tmp_path, monkeypatch):
    archive = zip_of(tmp_path / "a.zip", {"a.txt": "x" * 50_000})
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=10_000))
    assert "a.zip needs 50000 bytes" in failure(config(zip_source(archive)), run)


@pytest.mark.parametrize("held", [b"not a zip", b"PK\x03\x04", b"<html>login</html>"])
def test_a_file_that_is_no_archive_is_an_error_and_is_not_kept(server, run, held):
    address = server.on("/a.zip", Reply(held))
    settings = config({"urls": [address], "unzip": True})
    assert "a.zip is not a zip archive" in failure(settings, run)
    assert contents(run.checkpoint) == {}


def test_an_archive_without_files_is_an_error(run, tmp_path):
    assert "holds no files" in failure(config(zip_source(zip_of(tmp_path / "a.zip", {"sub/": ""}))), run)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_archive_gives_the_right_files_or_a_stage_error(tmp_path, data):
    good = zip_of(tmp_path / "good.zip", {"a.txt": BODY[:300], "b/c.txt": "text " * 50}).read_bytes()
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "bad.zip").write_bytes(damaged[: data.draw(st.sampled_from([None, len(good) // 2, -1]))])
    try:
        with disk.writing("bad.zip", tmp_path):
            unzip.unzip(tmp_path / "bad.zip", tmp_path / "folder", "bad.zip")
    except StageError:
        assert not (tmp_path / "folder").exists()
    else:
        assert all(held in (BODY[:300], b"text " * 50) for held in contents(tmp_path / "folder").values())


# Files and folders of this machine


def test_a_path_is_copied(run, tmp_path):
    (tmp_path / "a.txt").write_bytes(BODY)
    download(config({"path": tmp_path / "a.txt", "sha256": sha(BODY), "size": len(BODY)}), run)
    assert contents(run.out) == {"a.txt": BODY}
    assert not (run.out / "a.txt").samefile(tmp_path / "a.txt")


def test_a_folder_is_copied_whole(run, tmp_path):
    folder = tmp_path / "corpus"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "sub" / "b.txt").write_text("b")
    (folder / "c.txt").symlink_to(folder / "a.txt")
    download(config({"path": folder, "sha256": sha256_of_tree(folder)}), run)
    assert contents(run.out) == {"corpus/a.txt": b"a", "corpus/sub/b.txt": b"b", "corpus/c.txt": b"a"}
    assert not (run.out / "corpus" / "c.txt").is_symlink()


@pytest.mark.parametrize("target", ["/etc/hostname", "/no/such/file", "."])
def test_a_link_that_leaves_the_folder_or_hides_one_is_refused(run, tmp_path, target):
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    (folder / "link").symlink_to(target)
    settings = config({"path": folder})
    assert str(folder / "link") in failure(settings, run, UsageError)
    with pytest.raises(UsageError, match="link"):
        fingerprints(settings)


ADDRESS = {"urls": ["http://127.0.0.1:9/loose.jsonl"]}
DATASET = {"dataset": "owner/poems", "name": "loose.jsonl"}


@pytest.mark.parametrize("source", [ADDRESS, DATASET], ids=["of an address", "of a data set"])
@pytest.mark.parametrize("after", [b'{"text": "other"}\n', None], ids=["altered", "gone"])
def test_pitfall_44_mirror_file_altered_since_is_refused(tmp_path, source, after):
    file = tmp_path / "loose.jsonl"
    file.write_bytes(b'{"text": "one"}\n')
    settings = config(source, mirror=str(tmp_path), timeout=1, attempts=1)
    found = fingerprints(settings)
    assert set(found) == {"loose.jsonl"}
    if after is None:
        file.unlink()
    else:
        file.write_bytes(after)
    run = stage_run(tmp_path / "run", fingerprints=found)
    message = failure(settings, run)
    expected = (
        "was altered since its SHA-256 was taken" if after else "had a file of it|could not be downloaded"
    )
    assert re.search(expected, message)
    file.write_bytes(b'{"text": "one"}\n')
    download(settings, run)
    assert contents(run.out) == {"loose.jsonl": b'{"text": "one"}\n'}


def test_pitfall_44_newer_mirror_file_is_not_the_address(tmp_path):
    settings = config(ADDRESS, mirror=str(tmp_path), timeout=1, attempts=1)
    run = stage_run(tmp_path / "run", fingerprints=fingerprints(settings))
    (tmp_path / "loose.jsonl").write_bytes(OTHER)
    assert "was altered since" in failure(settings, run)


@pytest.mark.parametrize("place", ["a.txt", "corpus/a.txt"])
def test_pitfall_44_file_altered_before_its_copy_is_refused(tmp_path, place):
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(BODY)
    settings = config({"path": tmp_path / place.partition("/")[0]})
    run = stage_run(tmp_path / "run", fingerprints=fingerprints(settings))
    file.write_bytes(OTHER)
    message = failure(settings, run)
    assert "was altered since its SHA-256 was taken" in message
    assert fingerprints(settings)[settings.sources[0].name] in message
    assert contents(run.checkpoint) == {}
    file.write_bytes(BODY)
    download(settings, run)


def test_local_file_is_read_once_to_be_copied_and_its_copy_never(run, tmp_path, monkeypatch):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_bytes(BODY)
    (tmp_path / "b.txt").write_bytes(BODY)
    monkeypatch.setattr("tasks.machine.digests.read_sha256", None)
    download(config({"path": tmp_path / "corpus"}, {"path": tmp_path / "b.txt"}), run)
    assert contents(run.out) == {"corpus/a.txt": BODY, "b.txt": BODY}


def test_an_empty_file_or_folder_is_named(run, tmp_path):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "folder").mkdir()
    assert "empty.txt" in failure(config({"path": tmp_path / "empty.txt"}), run)
    assert "folder" in failure(config({"path": tmp_path / "folder"}), run)


def test_a_file_with_another_sha256_is_refused(run, tmp_path):
    (tmp_path / "a.txt").write_bytes(OTHER)
    message = failure(config({"path": tmp_path / "a.txt", "sha256": sha(BODY)}), run)
    assert sha(OTHER) in message
    assert sha(BODY) in message
    assert contents(run.checkpoint) == {}


def test_what_a_killed_attempt_copied_is_not_mixed_in(run, tmp_path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_text("a")
    (run.checkpoint / "corpus.part").mkdir()
    (run.checkpoint / "corpus.part" / "gone.txt").write_text("gone")
    download(config({"path": tmp_path / "corpus"}), run)
    assert contents(run.out) == {"corpus/a.txt": b"a"}


def test_sources_in_each_others_place_are_refused(run, tmp_path):
    zip_of(tmp_path / "data.zip", {"a.txt": "a"})
    (tmp_path / "data").mkdir()
    sources = [zip_source(tmp_path / "data.zip"), {"path": tmp_path / "data"}]
    assert "'data.zip' and 'data'" in failure(config(*sources), run, UsageError)


# Made here


def test_python_reference_is_stable_and_matches_its_fingerprint(tmp_path):
    settings = config({"made": "python-reference"})
    for attempt in ("first", "second"):
        run = stage_run(tmp_path / attempt)
        download(settings, run)
        text = (run.out / "python-reference.jsonl").read_bytes()
        assert fingerprints(settings) == {"python-reference.jsonl": sha(text)}
    rows = [json.loads(line) for line in text.decode().split("\n")[:-1]]
    assert len(rows) > 50
    assert all(list(row) == ["text"] and len(row["text"]) > 50 for row in rows)


def test_skills_are_written_as_they_are_made(run, monkeypatch):
    skills = types.ModuleType("tasks.makers.skills")
    skills.make_rows = lambda count, seed: [{"instruction": f"{count} ü", "output": str(seed)}] * 2
    monkeypatch.setitem(sys.modules, "tasks.makers.skills", skills)
    download(config({"made": "skills", "count": 5, "seed": 7}), run)
    expected = '{"instruction": "5 ü", "output": "7"}\n' * 2
    assert (run.out / "skills.jsonl").read_text(encoding="utf-8") == expected


def test_more_skills_than_there_are_is_an_error_and_no_traceback(run, monkeypatch):
    def none_left(count, seed):
        raise ValueError("only 3 distinct rows")

    monkeypatch.setitem(sys.modules, "tasks.makers.skills", types.SimpleNamespace(make_rows=none_left))
    assert "only 3 distinct rows" in failure(config({"made": "skills"}), run)


@pytest.mark.parametrize("name", MAKERS)
def test_every_maker_makes_the_same_rows_of_the_same_seed(name):
    make = resolve_name(MAKERS[name].entry)
    assert make(12, 5) == make(12, 5)
    assert b"".join(json_lines(make(12, 5), name))


# Hugging Face


def test_a_dataset_is_written_as_json_lines_with_its_characters(run, monkeypatch):
    import datasets

    asked = []

    def load_dataset(*args, **options):
        asked.append((args, options))
        return datasets.Dataset.from_dict({"text": ["汉字", None], "when": [datetime(2020, 1, 2), None]})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    download(config({"dataset": "owner/poems", "subset": "zh", "split": "test", "revision": "v2"}), run)
    assert (run.out / "poems.jsonl").read_text(encoding="utf-8") == (
        '{"text": "汉字", "when": "2020-01-02T00:00:00"}\n{"text": null, "when": null}\n'
    )
    options = {"split": "test", "revision": "v2", "streaming": False, "token": False}
    assert asked == [(("owner/poems", "zh"), options)]


POEMS = "".join(f'{{"text": "{n}"}}\n' for n in range(5)).encode()


def test_dataset_is_downloaded_only_as_far_as_the_rows_asked_for(run, monkeypatch):
    import datasets

    read, asked = [], []

    def rows():
        for number in range(5):
            read.append(number)
            yield {"text": str(number)}

    def load_dataset(*args, **options):
        asked.append(options["streaming"])
        return datasets.IterableDataset.from_generator(rows)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    download(config({"dataset": "owner/poems", "rows": 2}), run)
    assert contents(run.out) == {"poems.jsonl": b"".join(POEMS.splitlines(keepends=True)[:2])}
    assert asked == [True]
    assert len(read) <= 3


def test_fewer_rows_than_asked_for_are_taken_and_told(run, monkeypatch, caplog):
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **options: [{"text": "0"}])
    download(config({"dataset": "owner/poems", "rows": 2}), run)
    assert contents(run.out) == {"poems.jsonl": b'{"text": "0"}\n'}
    assert "poems.jsonl from hf:owner/poems has 1 rows; 2 were asked for" in caplog.text


@pytest.mark.parametrize("rows", [None, 2])
@pytest.mark.parametrize("kind", ["folder", "address"])
def test_dataset_is_taken_from_the_mirror_and_cut_to_its_rows(server, run, tmp_path, monkeypatch, kind, rows):
    import datasets

    monkeypatch.delattr(datasets, "load_dataset")
    (tmp_path / "poems.jsonl").write_bytes(b"\n" + POEMS.rstrip())
    server.on("/poems.jsonl", Reply(POEMS))
    kept = b"".join(POEMS.splitlines(keepends=True)[:rows])
    mirror = str(tmp_path) if kind == "folder" else server.url
    download(config({"dataset": "owner/poems", "rows": rows, "sha256": sha(kept)}, mirror=mirror), run)
    assert contents(run.out) == {"poems.jsonl": kept}


def test_dataset_that_the_mirror_lacks_is_asked_of_the_hub(server, run, monkeypatch, caplog):
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **options: [{"text": "0"}])
    server.on("/poems.jsonl", Reply(b"", status=404))
    download(config({"dataset": "owner/poems"}, mirror=server.url), run)
    assert contents(run.out) == {"poems.jsonl": b'{"text": "0"}\n'}
    assert "status 404" in caplog.text


def test_a_dataset_that_breaks_off_is_an_error_that_names_it(run, monkeypatch):
    import datasets

    def rows():
        yield {"text": "0"}
        raise ConnectionError("gone")

    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **options: rows())
    message = failure(config({"dataset": "owner/poems", "rows": 2}), run)
    assert "owner/poems (subset default, split train, main) could not be downloaded" in message
    assert "ConnectionError: gone" in message
    assert contents(run.out) == contents(run.checkpoint) == {}


@pytest.mark.parametrize(("rows", "words"), [([], "is empty"), ([{"x": 1}, {"x": b"1"}], "row 2 cannot be")])
def test_dataset_without_text_is_an_error_and_not_half_a_file(run, monkeypatch, rows, words):
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **options: rows)
    assert words in failure(config({"dataset": "owner/poems"}), run)
    assert contents(run.checkpoint) == {}


def test_local_folder_is_not_taken_for_a_dataset_of_its_name(run, tmp_path, monkeypatch):
    (tmp_path / "owner" / "poems").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert "owner/poems" in failure(config({"dataset": "owner/poems"}), run, UsageError)


ASK_THE_HUB = """
import sys
from pathlib import Path
from tasks.config import MAKERS, DownloadConfig
from tasks.download.stage import download
from tasks.errors import StageError
from tasks.record.stage import StageRun
for name in ("poems-401", "poems-404"):
    here, config = Path(sys.argv[1]) / name, DownloadConfig.model_validate(f"hf:owner/{name}")
    try:
        download(config, StageRun(here / "o", here / "a", here / "c"))
    except StageError as error:
        print(str(error).replace(chr(10), " "))
        assert not list((here / "o").iterdir())
"""


def test_hf_endpoint_is_respected_and_no_token_is_sent_to_it(server, tmp_path):
    """In a process of its own, since the variables are read when huggingface_hub is imported."""

    def refuse(handler):
        server._head(handler, 401 if "poems-401" in handler.path else 404, {"Content-Length": "0"})

    server.answer = refuse
    environment = os.environ | {
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_TOKEN": "hf_secret",
        "HF_HUB_OFFLINE": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", ASK_THE_HUB, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    for name, line in zip(("owner/poems-401", "owner/poems-404"), told, strict=True):
        assert name in line
        assert server.url in line
        assert any(name in request.path for request in server.requests)
    assert not any("hf_secret" in str(request.headers) for request in server.requests)


# Fingerprints


def test_fingerprints_follow_the_content_of_a_path(tmp_path):
    file, folder = tmp_path / "a.txt", tmp_path / "corpus"
    file.write_bytes(BODY)
    folder.mkdir()
    (folder / "b.txt").write_bytes(BODY)
    settings = config({"path": file}, {"path": folder})
    assert fingerprints(settings) == {"a.txt": sha(BODY), "corpus": sha256_of_tree(folder)}
    (folder / "b.txt").write_bytes(OTHER)
    assert fingerprints(settings)["corpus"] == sha256_of_tree(folder)


def test_a_missing_path_is_wrong_usage(run, tmp_path):
    settings = config({"path": tmp_path / "gone.txt"})
    with pytest.raises(UsageError, match=r"gone\.txt does not exist"):
        fingerprints(settings)
    failure(settings, run, UsageError)


def test_a_path_that_cannot_be_read_is_wrong_usage(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("a")

    def denied(path):
        raise PermissionError(errno.EACCES, "denied", str(path))

    monkeypatch.setattr("tasks.download.stage.sha256_of_tree", denied)
    with pytest.raises(UsageError, match=r"a\.txt"):
        fingerprints(config({"path": tmp_path / "a.txt"}))


def test_addresses_are_fingerprinted_by_known_content(tmp_path):
    fixed = {"urls": ["http://127.0.0.1/fixed.bin"], "sha256": sha(BODY)}
    loose = {"urls": ["http://127.0.0.1/loose.bin", "http://127.0.0.1/2/loose.bin"]}
    assert fingerprints(config(fixed, loose)) == {"loose.bin": "address:http://127.0.0.1/loose.bin"}
    (tmp_path / "loose.bin").write_bytes(OTHER)
    (tmp_path / "fixed.bin").write_bytes(OTHER)
    assert fingerprints(config(fixed, loose, mirror=str(tmp_path))) == {"loose.bin": sha(OTHER)}


def test_dataset_is_decided_by_configuration_or_the_mirrors_file(tmp_path):
    source = {"dataset": "owner/poems", "rows": 2}
    assert fingerprints(config(source)) == fingerprints(config(source, mirror=str(tmp_path))) == {}
    (tmp_path / "poems.jsonl").write_bytes(OTHER)
    assert fingerprints(config(source, mirror=str(tmp_path))) == {"poems.jsonl": sha(OTHER)}
    assert fingerprints(config(source | {"sha256": sha(BODY)}, mirror=str(tmp_path))) == {}


def test_made_rows_are_a_miss_for_another_generator(monkeypatch):
    before = fingerprints(config({"made": "skills", "count": 20}))
    assert before == fingerprints(config({"made": "skills", "count": 20}))
    monkeypatch.setattr("tasks.makers.skills.NAMES", ["Quentin"])
    assert fingerprints(config({"made": "skills", "count": 20})) != before


def test_fingerprints_import_nothing_heavy():
    heavy = "torch", "datasets", "mlflow", "transformers", "huggingface_hub"
    code = f"import sys, tasks.download.stage; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
