"""Every exception of ours survives a process boundary, and can be told again in other words."""

import importlib
import inspect
import multiprocessing
import pickle
import pkgutil
from functools import cache

import pytest

import flows
import tasks
from tasks.data.reading import RowError
from tasks.errors import StageError, TouchstoneError

FORK = multiprocessing.get_context("fork")  # nothing is imported: a process takes milliseconds


@cache
def exceptions():
    """Those that any module of the project defines; a new one is among them."""
    found = set()
    for package in (tasks, flows):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            members = vars(importlib.import_module(module.name)).values()
            found |= {kind for kind in members if inspect.isclass(kind) and issubclass(kind, Exception)}
    ours = [kind for kind in found if kind.__module__.partition(".")[0] in ("tasks", "flows")]
    return sorted(ours, key=lambda kind: (kind.__module__, kind.__name__))


def example(kind):
    """One with a value of its own for everything that its constructor must be given."""
    parameters = inspect.signature(kind.__init__).parameters.values()
    required = [one for one in list(parameters)[1:] if one.default is one.empty]
    words = [one.name for one in required if one.kind is one.POSITIONAL_OR_KEYWORD]
    named = {one.name: f"the {one.name}" for one in required if one.kind is one.KEYWORD_ONLY}
    return kind(*(f"the {word}" for word in words or ["message"]), **named)


def test_the_walk_finds_them():
    kinds = exceptions()
    assert {TouchstoneError, StageError, RowError} <= set(kinds)
    assert len(kinds) > 10


def test_every_exception_survives_pickling():
    for kind in exceptions():
        error = example(kind)
        error.noted = ["later"]
        back = pickle.loads(pickle.dumps(error))
        assert type(back) is kind
        assert (str(back), back.args, vars(back)) == (str(error), error.args, vars(error))


def _raise(kind):
    raise example(kind)


def test_every_exception_of_ours_comes_out_of_a_worker_process():
    ours = [kind for kind in exceptions() if issubclass(kind, TouchstoneError)]
    with FORK.Pool(1) as pool:
        for kind in ours:
            with pytest.raises(kind, match="the ") as caught:
                pool.apply_async(_raise, (kind,)).get(timeout=10)  # one that cannot be read never comes
            assert vars(caught.value) == vars(example(kind))


def test_every_exception_of_ours_is_told_again_as_the_same_kind():
    for kind in exceptions():
        if issubclass(kind, TouchstoneError):
            error = example(kind)
            told = error.retold("tokenize: in other words")
            assert (type(told), str(told), vars(told)) == (kind, "tokenize: in other words", vars(error))
            assert str(error) != str(told)
