"""Who changes what a stage runs through raises its version, or says that the result is the same."""

import pytest

from flows.stages import STAGES
from tests import stage_code
from tests.stage_code import ADVICE, Name, changed, kept, reached


def test_every_stage_runs_through_the_code_kept_of_its_version():
    assert changed() == [], ADVICE
    assert list(kept()) == list(STAGES)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of two modules instead of ours; returns the hash of what `entry` reaches in it."""
    (tmp_path / "tasks").mkdir()
    monkeypatch.setattr(stage_code, "CHECKOUT", tmp_path)

    def write(**modules):
        for name, text in modules.items():
            (tmp_path / "tasks" / f"{name}.py").write_text(text)
        stage_code.module_of.cache_clear()
        stage_code._facts.cache_clear()
        return reached([Name("tasks.one", "entry")])

    yield write
    stage_code.module_of.cache_clear()
    stage_code._facts.cache_clear()


ONE = "from tasks import two\nfrom tasks.two import used\nLIMIT = 3\n\n"
ONE += "def entry(config):\n    return used(LIMIT)\n"
TWO = "class Kind:\n    size = 1\n\ndef used(x):\n    return Kind.size + x\n\ndef other():\n    return 1\n"


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (ONE, TWO.replace("size = 1", "size = 2")),  # by way of a function of another module
        (ONE.replace("LIMIT = 3", "LIMIT = 4"), TWO),
        (ONE.replace("used(LIMIT)", "two.used(LIMIT) + two.other()"), TWO),
        (f"{ONE}print(1)\n", TWO),  # what a module does when it is imported
        (ONE, TWO.replace("+ x", "- x")),
    ],
)
def test_a_change_of_what_is_reached_is_seen(package, one, two):
    before = package(one=ONE, two=TWO)
    assert package(one=one, two=two) != before


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (ONE, TWO.replace("return 1", "return 2")),  # of what nobody calls
        (f'"""A docstring."""\n{ONE}# and a comment\n', TWO),
        (ONE.replace("(config)", "(config: int) -> int"), TWO.replace("size = 1", "size: int = 1")),
        (ONE.replace("return", "    return").replace("        return", "    return"), TWO),
    ],
)
def test_words_annotations_and_what_is_not_reached_do_not_matter(package, one, two):
    before = package(one=ONE, two=TWO)
    assert package(one=one, two=two) == before


def test_what_is_named_as_an_entry_is_reached(package):
    one = "KIND = 'tasks.two:other'\n\ndef entry(config):\n    return KIND\n"
    assert package(one=one, two=TWO) != package(one=one, two=TWO.replace("return 1", "return 2"))


def test_settings_are_reached_too():
    """What checks a setting and makes something else of it is part of what its stage does."""
    assert Name("tasks.config.pretraining", "PretrainConfig") in reached(stage_code.roots_of("pretrain"))
