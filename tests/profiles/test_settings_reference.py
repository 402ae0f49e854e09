"""`touchstone settings` and the page of settings tell every key, as the models have it."""

import pytest

from flows.profiles.load import load_profile
from flows.profiles.profile import Profile
from flows.profiles.settings_reference import as_markdown, settings_reference
from tasks.config import StageConfig

ON_ROWS = ("rows", "tokenize", "pretrain", "finetune", "generate", "judge", "promote", "report")


@pytest.fixture(scope="module")
def reference():
    return settings_reference()


def setting(reference, section, key):
    (own,) = (one for one in reference if section in one.names)
    (found,) = (one for one in own.settings if one.key == key)
    return found


def test_every_setting_says_what_it_means(reference):
    silent = [
        f"{one.names[0]}.{own.key}" for one in reference for own in one.settings if len(own.meaning) < 10
    ]
    assert [name for name in silent if not name.endswith(("beta2", "lora.targets", ".split"))] == []
    assert all(own.meaning for one in reference for own in one.settings)
    assert all(len(one.meaning) > 10 for one in reference)


def test_every_section_of_a_profile_is_there(reference):
    named = {name for one in reference for name in one.names}
    (top,) = (one for one in reference if one.names == ("profile",))
    assert Profile.model_fields.keys() == (named - {"profile", "compare", "pools"}) | {
        own.key for own in top.settings
    }


@pytest.mark.parametrize(
    ("section", "key", "type_", "default"),
    [
        ("pretrain", "steps", "whole number from 1", "600"),
        ("pretrain", "schedule", "cosine or wsd", "cosine"),
        ("pretrain", "min_learning_rate", "number from 0 or null", "null"),
        ("pretrain", "decay", "number above 0 to 1", "0.2"),
        ("finetune", "learning_rate", "number above 0", "5.0e-5"),
        ("finetune", "lora.targets", "list: text", "[]"),
        ("dpo", "epochs", "number above 0", "1"),
        (
            "rows",
            "format",
            "auto, alpaca, prompt-completion, chat, preference, classification, multi-label, tokens, "
            "questions, choices, source-target or text",
            "auto",
        ),
        ("rows", "columns", "mapping: text to text", "{}"),
        ("corpus", "sources", "list of mappings", "(required)"),
        ("corpus", "sources.N.path", "path or null", "null"),
        ("judge", "scorer", "text or list: text", "metric:chrf"),
        ("judge", "gates.reference", "mapping: passes, fails", "{passes: 0.95, fails: 0.85}"),
        ("judge", "criteria.N.weight", "number above 0", "1"),
        ("profile", "seeds", "whole number or list: whole number", "1"),
        ("pools", "max_restarts", "whole number from 0", "2"),
    ],
)
def test_types_and_defaults_are_those_of_the_models(reference, section, key, type_, default):
    found = setting(reference, section, key)
    assert (found.type, found.default) == (type_, default)


def test_a_default_that_is_set_again_changes_nothing(reference, tmp_path):
    """What the reference prints can be written after --set."""
    (tmp_path / "own.yaml").write_text("corpus: x.txt\ninstructions: y.json\n")
    plain = load_profile(str(tmp_path / "own.yaml"))
    for section in reference:
        (name, *_) = section.names
        if not isinstance(getattr(plain, name, None), StageConfig) or name not in ON_ROWS:
            continue
        settings = [
            f"{name}.{own.key}={own.default}"
            for own in section.settings
            if ".N." not in own.key and "gates" not in own.key and own.key != "name" and own.default != '""'
        ]
        same = load_profile(str(tmp_path / "own.yaml"), settings)
        assert getattr(same, name) == getattr(plain, name)


def test_the_page_has_a_table_for_each_section(reference):
    page = as_markdown(reference)
    assert page.count("| key | type | default | meaning |") == len(reference)
    assert "| `steps` | whole number from 1 | `600` | optimizer steps |" in page
    assert all(line.count(" | ") >= 3 for line in page.splitlines() if line.startswith("| `"))
