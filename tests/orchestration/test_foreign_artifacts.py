"""A store whose artifacts are files of one machine is used by no other."""

import shutil

import pytest

from tasks.errors import UsageError
from tasks.record.tracking import open_tracking


def test_artifacts_in_local_files_are_not_used_by_other_machines(tmp_path):
    """As through a server on that store, which tells where the artifacts are and cannot hand them out."""
    here, store = tmp_path / "here", f"sqlite:///{tmp_path / 'here' / 'mlflow.db'}"
    open_tracking(here, store)
    open_tracking(tmp_path / "beside", store)  # of the same machine: the files are there
    (here / "artifacts").rename(tmp_path / "not here")
    with pytest.raises(UsageError, match="a folder of another machine"):
        open_tracking(tmp_path / "elsewhere", store)


def test_a_copy_is_not_used_while_the_original_is_there(tmp_path):
    """Its database names the files of the original: cleaning the copy would remove them."""
    original, copy = tmp_path / "original" / "mlruns", tmp_path / "copy" / "mlruns"
    open_tracking(original)
    shutil.copytree(original, copy)
    with pytest.raises(UsageError, match=f"is a copy.*TOUCHSTONE_HOME={original.parent}"):
        open_tracking(copy)
    (tmp_path / "link").symlink_to(original.parent)
    open_tracking(tmp_path / "link" / "mlruns")
    moved = tmp_path / "large disk"
    (original / "artifacts").rename(moved)
    (original / "artifacts").symlink_to(moved)
    open_tracking(original)
