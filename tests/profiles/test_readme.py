"""The settings that the README shows are settings that there are."""

import re
from pathlib import Path

import pytest

from flows.profiles.profile import load_profile

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
ROWS = "instructions: {sources: [{made: skills, count: 60}]}\n"


def test_it_shows_some():
    assert len(BLOCKS) >= 3


def one_each(block):
    """A block as one profile, or, where it shows a key twice, each line as one."""
    keys = re.findall(r"^(\w+):", block, re.MULTILINE)
    return [block] if len(set(keys)) == len(keys) else block.splitlines()


@pytest.mark.parametrize("text", [text for block in BLOCKS for text in one_each(block)])
def test_what_it_shows_is_a_profile(tmp_path, text):
    """Regression: criteria were shown in braces, in which YAML takes no bare question mark."""
    path = tmp_path / "shown.yaml"
    path.write_text(text if "instructions:" in text else ROWS + text, encoding="utf-8")
    load_profile(str(path))
