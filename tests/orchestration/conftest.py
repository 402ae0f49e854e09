"""One `touchstone up`, deployed to, that the trials of this folder share."""

import pytest

from tests.orchestration.sites import Site, started_up, stop


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Site:
    site = started_up(tmp_path_factory.mktemp("site"))
    try:
        site.deployed = site("deploy")
        yield site
    finally:
        status = site.processes[0].poll()  # a trial may have ended it
        if status is None:
            status = stop(site.processes[0])
    assert status == 0, (site.folder / "up.log").read_text()
