"""The decode loop: what a row gets is what it would get alone, whatever the model and the neighbours."""

import random

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LogitsProcessorList,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    RepetitionPenaltyLogitsProcessor,
)

from tasks.config import GenerateConfig
from tasks.errors import StageError
from tasks.generate import decoding, sampling
from tasks.generate.decoding import ActiveSequence, Decoder, Prompt, Reader, batches, slices
from tasks.models.loading import use_fused_gelu

pytestmark = pytest.mark.usefixtures("one_thread")

VOCABULARY, CONTEXT, NEW = 70, 48, 16
ENDS = frozenset({3, 11, 12})
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
}
GPT2 = GPT2Config(vocab_size=VOCABULARY, n_positions=CONTEXT, n_embd=32, n_layer=2, n_head=2)
MODELS = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2),
    "bloom": lambda: BloomForCausalLM(
        BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=2)
    ),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=8)),
}


def build(name):
    """Weights so large that responses differ and end at different places."""
    torch.manual_seed(3)
    model = MODELS[name]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def prompts_of(shared, count=24):
    """Prompts of 2 to 40 tokens that begin with `shared` tokens; long ones leave the context little room."""
    drawn = random.Random(5)
    for row in range(count):
        rest = [drawn.randrange(VOCABULARY) for _ in range(drawn.randint(2, 40 - shared))]
        ids = [7, 60, 7, 9, 1][:shared] + rest
        yield Prompt(row, ids, min(NEW, CONTEXT - len(ids)))


def naive(model, prompt, ends=ENDS):
    """One row, everything read again for every token."""
    ids = list(prompt.ids)
    while len(ids) < len(prompt.ids) + prompt.limit:
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        if ids[-1] in ends:
            break
    return ids[len(prompt.ids) :]


def decoded(model, prompts, budget=100_000, ends=ENDS, **settings):
    decoder = Decoder(model, GenerateConfig(**settings), ends)
    found = {}
    for batch in batches(prompts, budget):
        for finished in decoder.decode(batch):
            found |= {prompt.row: tokens for prompt, tokens in finished}
    return found, decoder


@pytest.mark.parametrize("shared", [0, 5], ids=["nothing-shared", "prefix-shared"])
@pytest.mark.parametrize("name", MODELS)
def test_greedy_is_one_row_at_a_time_token_for_token(name, shared, monkeypatch):
    """Pitfall 15: for positions that are learnt, rotated, or distances, and for a sliding window."""
    model, prompts = build(name), list(prompts_of(shared, count=16))
    expected = {prompt.row: naive(model, prompt) for prompt in prompts}
    assert len({len(tokens) for tokens in expected.values()}) > 2
    for budget in (1, 300, 100_000):
        assert decoded(model, prompts, budget)[0] == expected
    monkeypatch.setitem(decoding.SLICE, "cpu", 60)  # prompts read in many slices of their own widths
    assert decoded(model, prompts)[0] == expected


def test_a_tie_is_decided_by_the_row_alone(monkeypatch):
    """Two tokens with one embedding, and noise where a batch would have its rounding."""
    model, prompts = build("gpt2"), list(prompts_of(0))
    expected = {prompt.row: naive(model, prompt, frozenset()) for prompt in prompts}
    common = max(range(VOCABULARY), key=lambda token: sum(token in ids for ids in expected.values()))
    with torch.no_grad():
        model.transformer.wte.weight[(common + 1) % VOCABULARY] = model.transformer.wte.weight[common]
    expected = {prompt.row: naive(model, prompt, frozenset()) for prompt in prompts}
    plain = Reader.__call__

    def noisy(reader, ids, *others):
        logits = plain(reader, ids, *others)
        return logits + 1e-6 * torch.rand_like(logits) if others[-1] != 1 else logits

    monkeypatch.setattr(Reader, "__call__", noisy)
    found, decoder = decoded(model, prompts, ends=frozenset())
    assert found == expected
    assert decoder.read_alone > 20
    monkeypatch.setattr(sampling, "TIE", -1.0)
    assert decoded(model, prompts, ends=frozenset())[0] != expected


def test_rows_leave_the_batch_when_they_are_finished(monkeypatch):
    model, prompts = build("gpt2"), list(prompts_of(0))
    sizes, forward = [], GPT2LMHeadModel.forward

    def recording(network, input_ids, **others):
        sizes.append(tuple(input_ids.shape))
        return forward(network, input_ids, **others)

    monkeypatch.setattr(GPT2LMHeadModel, "forward", recording)
    found, decoder = decoded(model, prompts)
    steps = [rows for rows, width in sizes if width == 1]
    lengths = [len(tokens) for tokens in found.values()]
    assert steps == [sum(length > step for length in lengths) for step in range(1, max(lengths))]
    assert decoder.read_alone == 0


def test_what_all_prompts_begin_with_is_read_once(monkeypatch):
    model, prompts = build("gpt2"), list(prompts_of(5))
    read, plain = [], Reader.__call__
    monkeypatch.setattr(
        Reader, "__call__", lambda reader, ids, *o: (read.append(ids), plain(reader, ids, *o))[1]
    )
    decoded(model, prompts)
    assert read[0].tolist() == [[7, 60, 7, 9, 1]]
    assert sum(ids.numel() for ids in read if ids.shape[0] > 1 and ids.shape[1] > 1) <= 24 * 35


def test_memory_that_was_never_written_counts_nothing(monkeypatch):
    """Nothing times NaN is NaN; torch fills fresh memory with NaN when asked to be deterministic."""
    model, prompts = build("gpt2"), list(prompts_of(0))
    expected = decoded(model, prompts)[0]
    monkeypatch.setitem(decoding.SLICE, "cpu", 60)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(True)
    try:
        assert decoded(model, prompts)[0] == expected
    finally:
        torch.use_deterministic_algorithms(False)


def test_prompts_are_read_in_slices_of_about_one_length():
    assert list(slices([1, 1, 2, 3, 9, 50, 2], 6)) == [
        slice(0, 3),
        slice(3, 4),
        slice(4, 5),
        slice(5, 6),
        slice(6, 7),
    ]


def test_one_prompt_may_begin_another_and_two_may_be_the_same():
    model = build("llama")
    prompts = [Prompt(row, [5, 6, 7, 8][:length], NEW) for row, length in enumerate([1, 2, 4, 4])]
    expected = {prompt.row: naive(model, prompt) for prompt in prompts}
    assert decoded(model, prompts)[0] == expected


@pytest.mark.parametrize("budget", [1, 50, 1000])
def test_a_batch_keeps_to_the_budget_or_is_one_row(budget):
    prompts = [
        Prompt(row, [1] * length, limit) for row, (length, limit) in enumerate([(3, 9), (30, 2), (9, 9)] * 5)
    ]
    made = list(batches(prompts, budget))
    assert sorted(prompt.row for batch in made for prompt in batch) == list(range(15))
    for batch in made:
        width = max(len(prompt.ids) for prompt in batch) + max(prompt.limit for prompt in batch)
        assert len(batch) == 1 or len(batch) * width <= budget
    assert [len(batch) for batch in batches(prompts, budget, rows_each=budget)] == [1] * 15


def test_penalty_is_for_tokens_of_the_row_never_for_padding():
    """GPT-2 pads with its end token; Hugging Face's processor makes that less likely in shorter rows."""
    end = 0
    logits = torch.zeros(2, VOCABULARY)
    logits[:, end] = 5.0
    prompts = [[5, 6, 7, 8], [5]]
    padded = torch.tensor([[5, 6, 7, 8], [end, end, end, 5]])
    theirs = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(2.0)])(padded, logits)
    assert theirs[:, end].tolist() == [5.0, 2.5]
    decoder = Decoder(build("gpt2"), GenerateConfig(repetition_penalty=2.0), ENDS)
    rows = [ActiveSequence(Prompt(row, ids, 1), random.Random(row)) for row, ids in enumerate(prompts)]
    assert decoder._penalized(rows, logits)[:, end].tolist() == [5.0, 5.0]


def test_penalized_responses_do_not_depend_on_the_batch():
    model, prompts = build("gpt2"), list(prompts_of(0))
    alone, together = (decoded(model, prompts, budget, repetition_penalty=1.5)[0] for budget in (1, 100_000))
    assert alone == together != decoded(model, prompts)[0]
    free = decoded(model, prompts, ends=frozenset(), repetition_penalty=100.0)[0]
    assert all(len(set(tokens)) == len(tokens) for tokens in free.values())


def test_hugging_face_generates_the_same_with_a_penalty():
    """Its penalty, alone and so without padding."""
    model = build("llama")
    for prompt in list(prompts_of(0))[:6]:
        theirs = model.generate(
            torch.tensor([prompt.ids]),
            attention_mask=torch.ones(1, len(prompt.ids), dtype=torch.long),
            max_new_tokens=prompt.limit,
            do_sample=False,
            repetition_penalty=1.3,
            eos_token_id=sorted(ENDS),
            pad_token_id=0,
        )[0, len(prompt.ids) :]
        assert decoded(model, [prompt], repetition_penalty=1.3)[0] == {prompt.row: theirs.tolist()}


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_sample_does_not_depend_on_the_batch(name):
    model, prompts = build(name), list(prompts_of(5))
    settings = {"decoding": "sample", "temperature": 1.3, "top_k": 30, "top_p": 0.95}
    results = [decoded(model, prompts, budget, **settings)[0] for budget in (1, 300, 100_000)]
    assert results[0] == results[1] == results[2]
    assert decoded(model, prompts[::-3], **settings)[0] == {
        prompt.row: results[0][prompt.row] for prompt in prompts[::-3]
    }


def test_the_fused_gelu_is_the_same_function():
    model = build("gpt2")
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        before = model(ids).logits
        torch.testing.assert_close(use_fused_gelu(model)(ids).logits, before)
    assert not any("NewGELU" in type(module).__name__ for module in model.modules())


def test_a_model_that_keeps_more_than_keys_and_values_is_refused():
    model = MambaForCausalLM(
        MambaConfig(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, state_size=4)
    )
    with pytest.raises(StageError, match="not only the keys and values of tokens"):
        decoded(model, list(prompts_of(0)))
