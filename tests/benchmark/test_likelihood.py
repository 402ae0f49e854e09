"""How likely a model finds a text: as computed directly, as lm-eval computes it, and after a kill."""

import pytest
import torch
from lm_eval.models.huggingface import HFLM

from tasks.errors import StageError
from tasks.models.loading import load_model
from tests.benchmark.asking import asking, likelihoods, requests
from tests.export_models import network_of, tokenizer_of
from tests.serve.tiny import tiny_model

PAIRS = [
    ("The capital of France is", " hot"),
    ("The capital of France is", " an instruction that describes"),
    ("", "Name the opposite of hot."),
    ("Name the opposite ", "of hot"),
    ("hot", " hot hot hot hot"),
    ("Below is an instruction. " * 5, " task"),
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load_model(tiny_model(tmp_path_factory.mktemp("tiny")).path)


def test_likelihoods_are_those_of_each_text_read_alone(tiny, tmp_path):
    network, tokenizer = tiny
    found = asking(network, tokenizer, tmp_path / "journal").loglikelihood(requests(PAIRS))
    for (context, text), (value, is_greedy) in zip(PAIRS, found, strict=True):
        moved = len(context) - len(context.rstrip())
        before = tokenizer(context[: len(context) - moved])["input_ids"] or [tokenizer.eos_token_id]
        whole = (before if not context else []) + tokenizer(context + text)["input_ids"]
        with torch.no_grad():
            logits = network(torch.tensor([whole])).logits[0].double()
        expected = logits.log_softmax(dim=-1)
        places = range(len(before), len(whole))
        assert value == pytest.approx(sum(expected[at - 1, whole[at]].item() for at in places), abs=1e-4)
        assert is_greedy == all(logits[at - 1].argmax().item() == whole[at] for at in places)


def test_likelihoods_are_those_of_lm_eval(tiny, tmp_path):
    network, tokenizer = tiny
    found = asking(network, tokenizer, tmp_path / "journal").loglikelihood(requests(PAIRS))
    theirs = HFLM(pretrained=network, tokenizer=tokenizer, device="cpu", batch_size=2)
    expected = theirs.loglikelihood(requests(PAIRS), disable_tqdm=True)
    for (value, is_greedy), (other, theirs_greedy) in zip(found, expected, strict=True):
        assert value == pytest.approx(other, abs=1e-4)
        assert is_greedy == theirs_greedy


def test_likelihoods_do_not_depend_on_batches(tiny, tmp_path):
    whole = asking(*tiny, tmp_path / "whole").loglikelihood(requests(PAIRS))
    single = asking(*tiny, tmp_path / "single", batch_tokens=1).loglikelihood(requests(PAIRS))
    assert [value for value, _ in whole] == pytest.approx([value for value, _ in single], abs=1e-4)


def test_journal_of_a_killed_attempt_is_gone_on_with(tiny, tmp_path):
    asking(*tiny, tmp_path / "whole", batch_tokens=30).loglikelihood(requests(PAIRS))
    lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    assert len(lines) > 3
    (tmp_path / "killed").write_bytes(b"".join(lines[:2]) + lines[2][:7])
    told = []
    model = asking(*tiny, tmp_path / "killed", batch_tokens=30)
    model._report = lambda done, of: told.append((done, of))
    again = model.loglikelihood(requests(PAIRS))
    assert (tmp_path / "killed").read_bytes() == (tmp_path / "whole").read_bytes()
    assert len(told) == len(lines) - 2
    assert told[-1] == (len(PAIRS), len(PAIRS))
    assert again == asking(*tiny, tmp_path / "whole", batch_tokens=30).loglikelihood(requests(PAIRS))


def test_context_that_is_too_long_loses_its_beginning(tmp_path):
    folder = tiny_model(tmp_path, context=16).path
    network, tokenizer = load_model(folder)
    model = asking(network, tokenizer, tmp_path / "journal")
    long = "The capital of France is hot. " * 10 + "Name the opposite of"
    (found,) = model.loglikelihood(requests([(long, " hot")]))
    ids, answer = (tokenizer(text)["input_ids"] for text in (long, " hot"))
    kept = [*ids, *answer][-16:]
    with torch.no_grad():
        logits = network(torch.tensor([kept])).logits[0].double().log_softmax(dim=-1)
    expected = sum(logits[at - 1, kept[at]].item() for at in range(16 - len(answer), 16))
    assert found[0] == pytest.approx(expected, abs=1e-4)
    assert model.cut == 1


def test_answer_without_room_or_tokens_is_refused(tmp_path):
    folder = tiny_model(tmp_path, context=16).path
    with pytest.raises(StageError, match=r"leaves no room for its question in the model's context of 16"):
        likelihoods(folder, [("Name", " the opposite of hot" * 9)], tmp_path / "long")
    with pytest.raises(StageError, match=r"the answer '' has no tokens"):
        likelihoods(folder, [("Name", "")], tmp_path / "empty")


def test_characters_that_a_tokenizer_does_not_know_are_counted(tmp_path):
    tokenizer = tokenizer_of(kind="char")
    model = asking(network_of(tokenizer), tokenizer, tmp_path / "journal")
    found = model.loglikelihood(requests([("the cat", " sat"), ("the cat", " sat €")]))
    assert model.unknown == 1
    assert all(value < 0 for value, _ in found)


def test_tokenizer_without_a_beginning_needs_a_context(tmp_path):
    tokenizer = tokenizer_of()
    network = network_of(tokenizer)
    tokenizer.eos_token = tokenizer.bos_token = None
    model = asking(network, tokenizer, tmp_path / "journal")
    with pytest.raises(StageError, match="has neither a beginning nor an end token"):
        model.loglikelihood(requests([("", "the cat")]))


def test_diverged_model_is_told_as_one(tmp_path):
    tokenizer = tokenizer_of()
    network = network_of(tokenizer)
    with torch.no_grad():
        network.lm_head.weight.fill_(float("nan"))
    with pytest.raises(StageError, match="computes no finite numbers"):
        asking(network, tokenizer, tmp_path / "journal").loglikelihood(requests(PAIRS))
