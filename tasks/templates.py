"""Prompt templates: one object for training, generation and judging, so that the prompts cannot differ."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Template:
    """How an instruction row becomes the text before the completion.

    `prompt` is followed by the completion and then the end token; nothing is put between them.
    """

    name: str
    preamble: str
    instruction: str
    input: str
    response: str

    def prompt(self, row: Mapping[str, str]) -> str:
        """The text a response continues; the input section is left out when the row has none."""
        sections = [self.preamble, self.instruction.format(row["instruction"])]
        if row.get("input"):
            sections.append(self.input.format(row["input"]))
        return "".join([*sections, self.response])


# The format of Stanford Alpaca as the GPT-2 material trains on it: one preamble, with or without input.
ALPACA = Template(
    name="alpaca",
    preamble=(
        "Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request."
    ),
    instruction="\n\n### Instruction:\n{}",
    input="\n\n### Input:\n{}",
    response="\n\n### Response:\n",
)

# The turns of Phi-3 (Abdin et al. 2024), without a system turn; a third of Alpaca's tokens.
PHI3 = Template(
    name="phi3",
    preamble="",
    instruction="<|user|>\n{}",
    input="\n{}",
    response="<|end|>\n<|assistant|>\n",
)

TEMPLATES = {template.name: template for template in (ALPACA, PHI3)}
