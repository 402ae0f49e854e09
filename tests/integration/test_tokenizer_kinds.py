"""Models with tokenizers of Llama's and Qwen's kind, from the import to scores of what they write."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tasks.config import BaseConfig, FinetuneConfig, GenerateConfig, JudgeConfig
from tasks.data.token_files import id_count
from tasks.finetune.sft import finetune
from tasks.generate import generate
from tasks.judge.score.outputs import ScoreSummary
from tasks.judge.score.stage import judge
from tasks.machine.json_files import read_lines
from tasks.registry.import_model import base as import_base
from tasks.rows import write_rows
from tests.tokenize.kinds import llama, qwen

ROWS = [
    {"id": 0, "instruction": "Say hello", "input": "", "output": "hello to the world"},
    {"id": 1, "instruction": "Name the opposite of hot", "input": "", "output": "cold: the opposite ✓"},
]


def rows_in(folder):
    folder.mkdir()
    write_rows(folder / "train.jsonl", ROWS)
    write_rows(folder / "validation.jsonl", [])
    write_rows(folder / "test.jsonl", ROWS)
    return folder


@pytest.mark.parametrize("template", ["chatml", "alpaca"])
@pytest.mark.parametrize("make", [llama, qwen])
def test_what_was_learned_is_written_and_scored(stage_run, tmp_path, make, template):
    """What is asked stands in training too: it is the way of the text that is tried, not learning."""
    tokenizer = make()
    torch.manual_seed(5)
    own = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=id_count(tokenizer) + 3, **own, **ends))
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "as it comes")
    rows, base, tuned, written, scored = rows_in(tmp_path / "rows"), *(stage_run(name) for name in "abcd")
    import_base(BaseConfig(model=str(tmp_path / "as it comes")), base)
    config = FinetuneConfig(
        template=template, epochs=60, batch_size=2, learning_rate=1e-2, evaluations=1, preflight="warn"
    )
    finetune(config, tuned, base=base.out, rows=rows)
    generate(
        GenerateConfig(template=template, max_new_tokens=40, device="cpu"),
        written,
        model=tuned.out,
        rows=rows,
    )
    responses = read_lines(written.out / "responses.jsonl")
    assert [row["response"] for row in responses] == [row["output"] for row in ROWS]
    assert not any(row["cut"] for row in responses)
    judge(JudgeConfig(scorer="metric:exact"), scored, responses=written.out)
    assert ScoreSummary.read(scored.out).scores[0]["mean"] == 100
