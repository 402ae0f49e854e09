"""The secret of a home: made once, for its user alone, and sent to no server but its own."""

import os
import stat

import pytest

from flows.server.access import CLIENTS as SIGNS_IN
from flows.server.access import (
    SECRET,
    SECRET_FILE,
    UP_LOCK,
    credentials,
    kept_addresses,
    kept_secret,
    required_secret,
    secret_of_home,
    secret_path,
    sign_in,
    told_secret,
)
from tasks.errors import UsageError
from tasks.machine.home import ADDRESSES
from tasks.machine.json_files import write_json
from tasks.machine.locks import holding

LONG = "a-secret-of-many-characters"
CLIENTS = tuple(credentials(LONG))


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    """A home that has no secret yet, in an environment that tells none."""
    monkeypatch.setenv("TOUCHSTONE_HOME", str(tmp_path))
    for name in (SECRET, *CLIENTS):
        monkeypatch.delenv(name)
    return tmp_path


def test_it_is_made_once_and_only_its_user_can_read_it():
    made = secret_of_home()
    assert len(made) >= 40
    assert secret_of_home() == made == kept_secret()
    assert stat.S_IMODE(secret_path().stat().st_mode) == 0o600


def test_the_folder_may_be_open_to_all_and_the_umask_too(fresh):
    before = os.umask(0)
    try:
        secret_of_home()
    finally:
        os.umask(before)
    assert stat.S_IMODE(secret_path().stat().st_mode) == 0o600


def test_two_homes_have_two_secrets(fresh, monkeypatch):
    first = secret_of_home()
    monkeypatch.setenv("TOUCHSTONE_HOME", str(fresh / "other"))
    assert secret_of_home() != first


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_one_that_others_could_read_is_replaced(mode):
    made = secret_of_home()
    secret_path().chmod(mode)
    assert kept_secret() is None
    assert secret_of_home() != made
    assert stat.S_IMODE(secret_path().stat().st_mode) == 0o600


def test_an_empty_file_is_no_secret():
    secret_of_home()
    secret_path().write_text("\n")
    assert kept_secret() is None
    assert len(secret_of_home()) >= 40


def test_environment_comes_first_and_is_kept_for_other_commands(monkeypatch):
    secret_of_home()
    monkeypatch.setenv(SECRET, LONG)
    assert secret_of_home() == LONG == kept_secret()


def test_it_may_be_told_by_a_file(fresh, monkeypatch):
    (fresh / "mounted").write_text(f"{LONG}\n")
    monkeypatch.setenv(SECRET_FILE, str(fresh / "mounted"))
    assert told_secret() == required_secret() == LONG


def test_faults_are_told(fresh, monkeypatch):
    with pytest.raises(UsageError, match=f"set {SECRET} or {SECRET_FILE}"):
        required_secret()
    monkeypatch.setenv(SECRET, "password")
    with pytest.raises(UsageError, match="has 8 characters and needs 16"):
        secret_of_home()
    monkeypatch.setenv(SECRET_FILE, str(fresh / "none"))
    with pytest.raises(UsageError, match="both set"):
        told_secret()
    monkeypatch.delenv(SECRET)
    with pytest.raises(UsageError, match=f"{SECRET_FILE}: .*none cannot be read"):
        told_secret()


def test_clients_bring_the_secret_that_they_are_told(monkeypatch):
    monkeypatch.setenv(SECRET, LONG)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "somebody")
    sign_in()
    assert os.environ["PREFECT_API_AUTH_STRING"] == f"touchstone:{LONG}"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == LONG
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "somebody"  # what the user has set stays


@pytest.fixture
def served(fresh):
    """A home whose `touchstone up` runs; gives where it listens."""
    secret_of_home()
    addresses = {"PREFECT_API_URL": "http://here:4200/api", "MLFLOW_TRACKING_URI": "http://here:5000"}
    write_json(fresh / "mlruns" / "work" / ADDRESSES, addresses)
    with holding(fresh / "mlruns" / "work" / UP_LOCK):
        yield addresses


@pytest.fixture
def told(monkeypatch):
    """What clients are told of the secret, given addresses."""

    def ask(**addresses):
        for name, value in addresses.items():
            monkeypatch.setenv(name, value)
        sign_in()
        found = {name: os.environ[name] for name in CLIENTS if name in os.environ}
        for name in found:
            monkeypatch.delenv(name)
        return found

    return ask


def test_the_secret_of_the_home_goes_to_its_own_servers(served, told):
    assert told(**served) == credentials(kept_secret())


def test_no_other_server_is_told_it(served, told):
    elsewhere = {"PREFECT_API_URL": "http://elsewhere/api", "MLFLOW_TRACKING_URI": "http://elsewhere"}
    assert told(**elsewhere) == {}


@pytest.mark.parametrize("name", ["PREFECT_API_URL", "MLFLOW_TRACKING_URI"])
def test_of_two_servers_only_the_own_one_is_told_it(served, told, name):
    mixed = dict.fromkeys(served, "https://elsewhere.example") | {name: served[name]}
    secret = credentials(kept_secret())
    assert told(**mixed) == {variable: secret[variable] for variable in SIGNS_IN[name]}


def test_where_an_up_that_was_killed_listened_nobody_is_told_it(served, told, fresh):
    """Anyone on this machine may listen there now."""
    (fresh / "mlruns" / "work" / UP_LOCK).unlink()
    assert told(**served) == {}


@pytest.mark.parametrize("content", ["", "{", "[1"])
def test_addresses_that_were_not_written_to_their_end_are_none(served, fresh, content):
    (fresh / "mlruns" / "work" / ADDRESSES).write_text(content)
    assert kept_addresses() == {}


@pytest.mark.parametrize("secret", ["a secret of ünicode letters", "a-secret-with\ttabs-in-it"])
def test_a_secret_that_no_header_can_bring_is_refused(monkeypatch, secret):
    monkeypatch.setenv(SECRET, secret)
    with pytest.raises(UsageError, match="printable ASCII"):
        told_secret()


def test_space_around_a_secret_is_none_of_it(fresh, monkeypatch):
    monkeypatch.setenv(SECRET, f" {LONG}\n")
    assert told_secret() == LONG
