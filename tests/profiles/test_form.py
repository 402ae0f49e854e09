"""A profile's settings as a form: each field says what `--set` would, and no setting is left out."""

import pytest
import yaml

from flows.profiles.form import as_override, as_yaml, form_sections, form_values, overrides_of
from flows.profiles.load import load_profile, profile_names
from flows.profiles.profile import Profile
from tasks.errors import UsageError


def fields():
    return {field.key: field for section in form_sections() for field in section.fields}


def test_form_has_every_section_of_a_profile():
    top, *sections = form_sections()
    assert top.name == "profile"
    named = {section.name for section in sections} | {field.key for field in top.fields}
    assert named == Profile.model_fields.keys() - {"takes"}


@pytest.mark.parametrize(
    ("key", "kind", "choices", "is_optional"),
    [
        ("pretrain.steps", "number", (), False),
        ("pretrain.min_learning_rate", "number", (), True),
        ("pretrain.schedule", "choice", ("cosine", "wsd"), False),
        ("pretrain.document_mask", "flag", (), False),
        ("grpo.asking", "section", (), True),
        ("finetune.lora.rank", "number", (), False),
        ("corpus", "section", (), True),
        ("corpus.sources", "text", (), False),
        ("seeds", "text", (), False),
    ],
)
def test_form_field_is_of_the_kind_of_its_setting(key, kind, choices, is_optional):
    field = fields()[key]
    assert (field.kind, field.choices, field.is_optional) == (kind, choices, is_optional)


def test_form_field_tells_meaning_and_range():
    steps = fields()["pretrain.steps"]
    assert (steps.meaning, steps.type) == ("optimizer steps", "whole number from 1")
    assert all(
        field.meaning for field in fields().values() if field.kind == "section" and "." not in field.key
    )


@pytest.mark.parametrize("name", profile_names())
def test_form_values_say_the_profile_again(name):
    """Of what the profile does; each value is read as after `--set`."""
    profile = load_profile(name)
    values = form_values(profile)
    again = [f"description={profile.description}"]
    for key, field in fields().items():
        section, _, rest = key.partition(".")
        is_there = getattr(profile, section) is not None and section not in profile.unused_stages()
        is_in_another = any(values.get(f"{section}.{part}") == "false" for part in _parents(rest))
        if field.kind != "section" and is_there and not is_in_another:
            again.append(f"{key}={values[key]}")
    assert load_profile(name, again).model_dump() == profile.model_dump()


def _parents(key):
    parts = key.split(".")
    sections = {name for name, field in fields().items() if field.kind == "section"}
    found = [".".join(parts[:count]) for count in range(1, len(parts))]
    return [name for name in found if any(section.endswith(f".{name}") for section in sections)]


def test_form_values_tell_which_sections_are_there():
    values = form_values(load_profile("quickstart"))
    assert (values["corpus"], values["dpo"], values["grpo.asking"]) == ("true", "false", "false")
    assert values["dpo.beta"] == "0.1"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (0.003, "0.003"),
        (1e-05, "1e-05"),
        (("a", "b"), '["a", "b"]'),
        ({"output": "ä"}, '{"output": "ä"}'),
        ("plain, text: [x", "plain, text: [x"),
    ],
)
def test_form_value_is_written_as_an_override(value, text):
    assert as_override(value) == text


@pytest.mark.parametrize(
    ("changed", "overrides"),
    [
        ({"pretrain.steps": "200"}, ["pretrain.steps=200"]),
        ({"dpo": "true"}, ["dpo={}"]),
        ({"dpo.beta": "0.2", "dpo": "true"}, ["dpo.beta=0.2"]),
        ({"corpus": "false"}, ["corpus=null"]),
        ({"pretrain.steps": "9", "export": "true"}, ["export={}", "pretrain.steps=9"]),
    ],
)
def test_form_changes_become_overrides(changed, overrides):
    assert overrides_of(changed) == overrides


def test_form_turns_a_section_on_with_its_defaults():
    profile = load_profile("quickstart", overrides_of({"dpo": "true", "export": "true"}))
    assert profile.dpo is not None
    assert profile.export is not None


def test_form_yaml_stands_for_profile_and_overrides(tmp_path):
    overrides = ["pretrain.steps=7", "finetune.epochs=1.5", "rows.columns={output: my answer}"]
    path = tmp_path / "mine.yaml"
    path.write_text(as_yaml("quickstart", overrides), encoding="utf-8")
    assert load_profile(str(path)).model_dump() == load_profile("quickstart", overrides).model_dump()
    assert yaml.safe_load(path.read_text())["pretrain"]["steps"] == 7


def test_form_yaml_of_a_wrong_setting_says_which():
    with pytest.raises(UsageError, match=r"pretrain.steps: Input should be greater than 0, found 0"):
        as_yaml("quickstart", ["pretrain.steps=0"])
