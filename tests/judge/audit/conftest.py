"""Audits that share their answers."""

import pytest

from tests.judge.audit.auditing import Audited, skill_rows


@pytest.fixture
def audited(tmp_path):
    """A factory of audits in folders of their own that share their answers."""
    made = []

    def make(server, rows=None, **config):
        made.append(tmp_path / f"audit-{len(made)}")
        return Audited(made[-1], rows or skill_rows(3), tmp_path / "shared", server, **config)

    return make
