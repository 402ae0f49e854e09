"""llama.cpp answers from an exported file what Transformers answers: the same tokens read, and written."""

import httpx
import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tasks.config import GenerateConfig
from tasks.export.gguf_file import LLAMA3, QWEN2, write_gguf
from tasks.generate import generate
from tasks.machine.json_files import read_json, read_lines, write_lines
from tasks.models.loading import load_causal
from tasks.rows import write_rows
from tasks.serve.llama_cpp import llama_cpp
from tasks.tokenize.stage import text_ids
from tasks.tokenize.templates import OURS, load_template

CONTEXT, NEW, NAME = 512, 8, "tiny"
MARGIN = 0.002  # of a row's range of logits: the two engines add in another order
END, BEGIN = "<|endoftext|>", "<|begin|>"
OWN_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
TEXTS = [
    "The capital of France is",
    "It's 12345 o'clock,  and we'RE  late\n\n\n  - no?",
    "naïve Größe, ﬁn de siècle",
    "学而时习之，不亦说乎？",
    "Привет, мир! Καλημέρα",
    "مرحبا بالعالم हिन्दी",
    "👩‍👩‍👧 and 🇩🇪 e\u0301",
    f"What does {END} mean, and <|im_end|>, and {BEGIN}?",
    "\ttabs and\u00a0spaces \u2028 lines",
]
ROWS = [
    {"id": index, "instruction": text, "input": "with input" * (index % 2), "output": "yes"}
    for index, text in enumerate(TEXTS)
]


def _split_by(pattern):
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


SPLITS = {
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "llama-bpe": _split_by(LLAMA3),
    "qwen2": _split_by(QWEN2),
}


def _tokenizer(split):
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = SPLITS[split], decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=600,
        special_tokens=[END, BEGIN, "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BEGIN, eos_token=END)


def _model(architecture, size):
    if architecture == "gpt2":
        return GPT2LMHeadModel(
            GPT2Config(vocab_size=size, n_positions=CONTEXT, n_embd=64, n_layer=2, n_head=2, eos_token_id=0)
        )
    own = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    own |= {"num_key_value_heads": 2, "max_position_embeddings": CONTEXT, "eos_token_id": 0}
    return LlamaForCausalLM(LlamaConfig(vocab_size=size, **own))


@pytest.fixture(scope="module", params=[("gpt2", "gpt-2"), ("llama", "llama-bpe"), ("llama", "qwen2")])
def exported(request, tmp_path_factory):
    """A folder with a model and its tokenizer, and llama.cpp that serves its file in float32."""
    architecture, split = request.param
    folder, tokenizer = tmp_path_factory.mktemp(split), _tokenizer(split)
    torch.manual_seed(7)
    model = _model(architecture, len(tokenizer)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        ascii_only = [
            tokenizer.decode([token]).isascii() and tokenizer.decode([token]).isprintable()
            for token in range(len(tokenizer))
        ]
        # Half a character would be another text in either: tokens that are no ASCII are made unlikely.
        model.get_output_embeddings().weight[~torch.tensor(ascii_only)] = 0
    model.save_pretrained(folder / "model")
    tokenizer.chat_template = OWN_TEMPLATE
    tokenizer.save_pretrained(folder / "model")
    write_gguf(model, tokenizer, folder / "model.gguf", chat_template=OWN_TEMPLATE)
    with llama_cpp(folder / "model.gguf", NAME, context=CONTEXT, parallel=2, exact=True) as server:
        yield folder, tokenizer, server


@torch.no_grad()
def _is_decided(model, ids):
    """Whether rounding decides none of the tokens that a model of random weights continues with."""
    for _ in range(NEW):
        logits = model(torch.tensor([ids])).logits[0, -1]
        best, second = logits.topk(2).values
        if best - second < MARGIN * (best - logits.min()):
            return False
        ids = [*ids, int(logits.argmax())]
    return True


@pytest.mark.parametrize("text", TEXTS)
def test_llama_cpp_reads_the_same_tokens(exported, text):
    _, tokenizer, server = exported
    asked = {"content": text, "add_special": False, "parse_special": False}
    found = httpx.post(f"{server.address}/tokenize", json=asked, headers=server.headers, timeout=30).json()
    assert found["tokens"] == text_ids(tokenizer, [text])[0]


@pytest.mark.parametrize("template", [*OURS, "tokenizer"])
def test_llama_cpp_responds_as_transformers_does(exported, stage_run, monkeypatch, template):
    folder, tokenizer, server = exported
    write_rows(folder / "test.jsonl", ROWS)
    own = {"template": template, "max_new_tokens": NEW}
    here, there = stage_run("here"), stage_run("there")
    generate(GenerateConfig(**own, device="cpu"), here, model=folder, rows=folder)
    monkeypatch.setenv("OPENAI_API_KEY", server.key)
    served = GenerateConfig(**own, backend="openai", model=NAME, base_url=f"{server.address}/v1")
    generate(served, there, model=folder, rows=folder)
    ours, theirs = (read_lines(run.out / "responses.jsonl") for run in (here, there))
    prompts = load_template(template, tokenizer).prompts_ids(ROWS)
    network = load_causal(folder / "model").eval()
    decided = [_is_decided(network, ids) for ids in prompts]
    assert sum(decided) > len(ROWS) / 2
    for row, other, sure in zip(ours, theirs, decided, strict=True):
        assert row["prompt"] == other["prompt"]
        if sure:
            assert (other["response"], other["cut"]) == (row["response"], row["cut"])
    summary = read_json(there.out / "summary.json")
    assert summary["served"]["prompts"] == "tokens"
    assert summary["reference_perplexity"] is None
    assert any(row["response"] for row in ours)


def test_rows_without_references_have_responses(exported, stage_run):
    folder, *_ = exported
    rows = stage_run("rows").out
    asked = [
        {"id": 0, "instruction": "Hi", "input": "", "output": "", "prompt": "", "response": ""},
        {"id": 1, "instruction": "Hi", "input": "", "output": "Hello", "prompt": "", "response": ""},
    ]
    write_lines(rows / "responses.jsonl", asked)
    run = stage_run()
    generate(GenerateConfig(max_new_tokens=NEW, device="cpu"), run, model=folder, rows=rows)
    first, second = read_lines(run.out / "responses.jsonl")
    assert first["response"] == second["response"]
    assert "reference_loss" not in first
    assert second["reference_loss"] > 0
