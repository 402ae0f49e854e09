"""Prompt templates, to the letter: what is trained on is what is asked with (pitfall 11)."""

import pytest

from tasks.templates import TEMPLATES

INSTRUCTION = "Name the opposite of {hot}."


@pytest.mark.parametrize("row", [{"instruction": INSTRUCTION}, {"instruction": INSTRUCTION, "input": ""}])
def test_alpaca_without_input(row):
    assert TEMPLATES["alpaca"].prompt(row) == (
        "Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request."
        "\n\n### Instruction:\nName the opposite of {hot}."
        "\n\n### Response:\n"
    )


def test_alpaca_with_input():
    assert TEMPLATES["alpaca"].prompt({"instruction": "Translate.", "input": "10 €, {} %s"}) == (
        "Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request."
        "\n\n### Instruction:\nTranslate."
        "\n\n### Input:\n10 €, {} %s"
        "\n\n### Response:\n"
    )


def test_phi3_without_input():
    assert TEMPLATES["phi3"].prompt({"instruction": INSTRUCTION, "input": ""}) == (
        "<|user|>\nName the opposite of {hot}.<|end|>\n<|assistant|>\n"
    )


def test_phi3_with_input():
    assert TEMPLATES["phi3"].prompt({"instruction": "Translate.", "input": "ten"}) == (
        "<|user|>\nTranslate.\nten<|end|>\n<|assistant|>\n"
    )


def test_a_prompt_never_holds_the_answer():
    row = {"instruction": "Say it.", "input": "now", "output": "the answer"}
    assert all("the answer" not in template.prompt(row) for template in TEMPLATES.values())


def test_templates_are_known_by_their_names():
    assert {name: template.name for name, template in TEMPLATES.items()} == {
        "alpaca": "alpaca",
        "phi3": "phi3",
    }
