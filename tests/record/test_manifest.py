"""Manifests: an output is whole or it is none, and any change to it is found without a crash."""

import errno
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import StageError
from tasks.record.manifest import (
    MANIFEST,
    canonical_json,
    describe_files,
    digest_of,
    fault_in,
    files_under,
    sha256_of_tree,
    write_atomically,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
ENCODABLE = st.characters(exclude_categories=["Cs"])


# Canonical JSON


def test_canonical_json_is_this_literal():
    value = {"b": [1, 2.5, None, True], "a": {"z": "schön", "y": ""}, "ключ": 1e-05}
    assert canonical_json(value) == '{"a":{"y":"","z":"schön"},"b":[1,2.5,null,true],"ключ":1e-05}'.encode()


@given(st.dictionaries(st.text(ENCODABLE), st.integers()))
def test_canonical_json_does_not_depend_on_the_order_of_a_dict(value):
    assert canonical_json(dict(reversed(value.items()))) == canonical_json(value)


@given(st.dictionaries(st.text(ENCODABLE), st.text(ENCODABLE) | st.integers() | st.floats(allow_nan=False)))
def test_canonical_json_loses_nothing(value):
    finite = {name: item for name, item in value.items() if item not in (float("inf"), float("-inf"))}
    assert json.loads(canonical_json(finite)) == finite


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_canonical_json_refuses_what_json_cannot_say(number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"loss": number})


# Digests


def test_folder_digest_is_of_names_and_bytes_whatever_its_name(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "a.txt").write_bytes(b"a")
    assert sha256_of_tree(tmp_path / "one") == sha256_of_tree(tmp_path / "other")
    (tmp_path / "other" / "deep" / "a.txt").rename(tmp_path / "other" / "deep" / "b.txt")
    assert sha256_of_tree(tmp_path / "one") != sha256_of_tree(tmp_path / "other")


def test_the_digest_of_a_file_is_its_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of_tree(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_files_are_listed_sorted_and_folders_are_not(tmp_path):
    for name in ("b", "a/z", "a.txt", "empty/"):
        path = tmp_path / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.touch()
    assert list(files_under(tmp_path)) == ["a.txt", "a/z", "b"]


# Writing


def test_a_write_that_fails_leaves_the_old_file_and_no_part(tmp_path, monkeypatch):
    path = tmp_path / MANIFEST
    path.write_bytes(b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path = tmp_path / MANIFEST
    seen = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append(path.exists()))
    write_atomically(path, b"new")
    assert seen == [False]
    assert path.read_bytes() == b"new"


# Faults


@pytest.fixture
def output(tmp_path):
    """A folder with a whole output, and its digest."""
    root = tmp_path / "artifacts"
    (root / "output" / "model").mkdir(parents=True)
    (root / "output" / "model" / "weights.bin").write_bytes(b"0123456789")
    (root / "output" / "notes.txt").write_bytes(b"")
    listing = describe_files(root, "output")
    write_atomically(root / MANIFEST, listing)
    return root, digest_of(listing)


def test_the_manifest_lists_every_file_with_its_size_and_sha256(output):
    root, _ = output
    assert json.loads((root / MANIFEST).read_bytes()) == {
        "files": {
            "output/model/weights.bin": {
                "sha256": "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882",
                "size": 10,
            },
            "output/notes.txt": {
                "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "size": 0,
            },
        }
    }


def test_a_whole_output_has_no_fault(output):
    assert fault_in(*output) is None


def test_files_that_the_manifest_does_not_list_are_no_fault(output):
    root, digest = output
    (root / "traceback.txt").write_text("kept beside")
    assert fault_in(root, digest) is None


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda file: file.unlink(), "weights.bin is missing"),
        (lambda file: file.write_bytes(b"012345678"), "weights.bin has 9 bytes instead of 10"),
        (lambda file: file.write_bytes(b"0123456780"), "weights.bin was altered"),
        (lambda file: (file.unlink(), file.mkdir()), "weights.bin is missing"),
        (lambda file: (file.unlink(), file.symlink_to("nowhere")), "weights.bin is missing"),
    ],
    ids=["deleted", "truncated", "altered at the same size", "a folder in its place", "a dead link"],
)
def test_a_damaged_file_is_named(output, damage, fault):
    root, digest = output
    damage(root / "output" / "model" / "weights.bin")
    assert fault in fault_in(root, digest)


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda file: file.unlink(), "is missing"),
        (lambda file: (file.unlink(), file.mkdir()), "cannot be read"),
        (lambda file: file.write_bytes(b""), "not the manifest that was recorded"),
        (lambda file: file.write_bytes(b"\xff\xfe"), "not the manifest that was recorded"),
        (lambda file: file.write_bytes(b"{"), "not the manifest that was recorded"),
        (lambda file: file.write_bytes(b'{"files": []}'), "not the manifest that was recorded"),
        (lambda file: file.write_bytes(b"[" * 100_000), "not the manifest that was recorded"),
        (lambda file: file.write_bytes(file.read_bytes() + b" "), "not the manifest that was recorded"),
    ],
)
def test_a_damaged_manifest_is_a_fault_and_never_a_crash(output, damage, fault):
    root, digest = output
    damage(root / MANIFEST)
    assert fault in fault_in(root, digest)


@given(junk=JSON)
def test_whatever_stands_in_the_manifests_place_is_a_fault(tmp_path_factory, junk):
    root = tmp_path_factory.mktemp("junk")
    (root / MANIFEST).write_text(json.dumps(junk))
    assert "not the manifest" in fault_in(root, digest_of(b"the one that was recorded"))


def test_a_folder_that_is_gone_is_a_fault(tmp_path):
    assert "manifest.json is missing" in fault_in(tmp_path / "gone", "0" * 64)


def test_a_file_that_cannot_be_read_is_a_fault(output, monkeypatch):
    def unreadable(path):
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr("tasks.record.manifest.sha256_of", unreadable)
    assert "cannot be read" in fault_in(*output)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE])
def test_file_that_cannot_be_read_just_now_is_not_damaged(output, monkeypatch, number):
    """A record of it would be a miss for ever, and its work done anew."""

    def unreadable(path):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("tasks.record.manifest.sha256_of", unreadable)
    with pytest.raises(StageError, match=r"could not be read for want of .* It is kept as it is"):
        fault_in(*output)
