"""A judge in this process: what its next token is worth, whatever it is read together with."""

import asyncio
from statistics import fmean
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from tasks.config import AuditConfig, JudgeConfig
from tasks.errors import StageError
from tasks.judge.ask.answers import AnswerStore
from tasks.judge.ask.asking import ask
from tasks.judge.ask.identities import digests_of
from tasks.judge.audit.gates import MASS
from tasks.judge.backends.local import Local, _Prompts
from tasks.judge.protocol.scoring_protocols import CHOICE_LABELS, LABELS, POINTS, Question
from tests.judge.audit.auditing import Audited, skill_rows
from tests.judge.judging import Trial, as_row, row_of, rows_of

pytestmark = pytest.mark.usefixtures("one_thread")

CONTEXT = 1024
END = "<|endoftext|>"
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
SYSTEMLESS = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TEMPLATE


def tokenizer_of(normalizer=None, template=None):
    """Bytes, and the merges of the judge's own prompt; digits are tokens of their own."""
    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    digits, rest = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, rest])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text_of(as_row())], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, chat_template=template)


def text_of(row, form=LABELS):
    return "\n\n".join(message["content"] for message in form.messages(Question(row)))


def judge_in(folder, *, seed=3, template=None, normalizer=None, tokenizer=None, spoil=None):
    """A random model with such large weights that its labels differ from row to row."""
    tokenizer = tokenizer or tokenizer_of(normalizer, template)
    torch.manual_seed(seed)
    shape = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=CONTEXT,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2LMHeadModel(shape)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        if spoil is not None:
            model.transformer.ln_f.bias.fill_(spoil)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return judge_in(tmp_path_factory.mktemp("local") / "model")


def local(folder, **config):
    """What an attempt is told to be judged by the model in a folder, which was audited.

    A random model gives its labels about as much as any other token, so that little is asked for.
    """
    scorer = f"hf:{folder}"
    digest = digests_of(JudgeConfig(scorer=scorer))[scorer]
    return {"scorer": scorer, "digest": digest, "device": "cpu", "min_mass": 0.0} | config


def by_hand(folder, text, points=POINTS):
    """The expected points of the label after a text that the model reads alone."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    model = GPT2LMHeadModel.from_pretrained(folder).eval()
    ids = tokenizer(text, return_tensors="pt").input_ids
    labels = [tokenizer.convert_tokens_to_ids(label) for label in points]
    with torch.no_grad():
        chances = model(ids).logits[0, -1, labels].softmax(dim=-1)
    return float(chances @ torch.tensor(list(points.values())))


def some_rows(count):
    """Responses of many lengths, so that a batch is padded."""
    return [row_of(i, response=", or ".join(f"City{n}" for n in range(i % 7 + 1))) for i in range(count)]


def test_the_score_is_that_of_the_prompt_read_alone(trial, model):
    rows = some_rows(11)
    done = trial(rows, **local(model))()
    names = ("instruction", "output", "prompt", "response")
    expected = [
        by_hand(model, text_of(as_row(id=row["id"], **{name: row[name] for name in names})) + "\n\nAnswer:")
        for row in rows
    ]
    assert done.scores == pytest.approx(expected, abs=1e-3)
    assert max(expected) - min(expected) > 1  # else a constant would pass
    assert all(call["status"] == 200 and call["tokens"] == 1 for call in done.calls)


def test_a_batch_gives_each_row_what_it_would_get_alone(tmp_path, model):
    found = {}
    for size in (1, 8):
        (tmp_path / str(size)).mkdir()
        found[size] = Trial(tmp_path / str(size), some_rows(17), **local(model, concurrency=size))().scores
    assert found[8] == pytest.approx(found[1], abs=1e-3)


@pytest.mark.parametrize(
    ("template", "start"),
    [
        (TEMPLATE, "<system>{system}<user>{user}<assistant>"),
        (SYSTEMLESS, "<user>{system}\n\n{user}<assistant>"),
    ],
    ids=["chat", "no system"],
)
def test_chat_template_without_a_system_gets_it_from_the_user(trial, tmp_path, template, start):
    folder = judge_in(tmp_path / "model", template=template)
    done = trial(rows_of(2), **local(folder))()
    system, user = (message["content"] for message in LABELS.messages(Question(as_row())))
    assert done.scores[0] == pytest.approx(by_hand(folder, start.format(system=system, user=user)), abs=1e-3)


def test_probabilities_are_kept_with_the_labels_share_of_all(trial, model):
    (call,) = trial(rows_of(1), **local(model))().calls
    chances = call["body"]["probabilities"]
    assert list(chances) == list(POINTS)
    assert sum(chances.values()) == pytest.approx(1.0)
    assert 0.0 < call["body"]["mass"] < 1.0
    assert call["score"] == pytest.approx(
        sum(POINTS[label] * chance for label, chance in chances.items()), abs=1e-3
    )
    assert call["reason"] is None


def test_pitfall_39_judge_that_would_say_otherwise_is_missing(trial, model):
    """A random model's labels have a hundredth of its probability: they are no answer."""
    done = trial(some_rows(4), **local(model) | {"min_mass": JudgeConfig().min_mass})()
    assert (done.scores, done.judged["status"]) == ([None] * 4, "too_many_missing")
    assert {line["missing_because"] for line in done.lines} == {
        "the judge would say something else: all labels together have less of its probability than "
        "judge.min_mass (0.5)"
    }
    assert [call["status"] for call in done.calls] == [200] * 4
    assert all(0.0 < call["body"]["mass"] < 0.1 for call in done.calls)


def test_floor_parts_rows_by_kept_mass_and_reads_nothing_again(trial, model):
    masses = [call["body"]["mass"] for call in trial(some_rows(6), **local(model))().calls]
    floor = sorted(masses)[3]
    done = trial(some_rows(6), **local(model, min_mass=floor))()
    assert [score is not None for score in done.scores] == [mass >= floor for mass in masses]
    assert all(call["cached"] for call in done.calls)


def test_a_label_counts_with_and_without_the_space_before_it(tmp_path):
    """Without a chat template the likely token after "Answer:" is " 5"; a reader of "5" alone misses it."""
    words = ["[UNK]", "Answer:", *POINTS, *(f"Ġ{label}" for label in POINTS)]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"Answer:| ?\d|(?:(?!Answer:| ?\d).)+"), "isolated"),
            pre_tokenizers.ByteLevel(False, use_regex=False),
        ]
    )
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")
    tokens = _Prompts(made, POINTS, "model").labels
    assert {label: made.convert_ids_to_tokens(own) for label, own in tokens.items()} == {
        label: [label, f"Ġ{label}"] for label in POINTS
    }


@pytest.mark.parametrize("mode", ["scores", "pairwise"])
def test_pitfall_39_the_audit_gates_the_mean_mass_of_the_labels(tmp_path, model, mode):
    server = SimpleNamespace(address="127.0.0.1:1")
    rows = skill_rows(3)
    for floor, verdict in ((0.0, "fail"), (0.5, "fail")):
        folder = tmp_path / str(floor)
        config = {"scorer": f"hf:{model}", "device": "cpu", "min_mass": floor, "mode": mode}
        done = Audited(folder, rows, tmp_path / "shared", server, **config)()
        (gate,) = [gate for gate in done.report["gates"] if gate["name"] == MASS]
        assert (gate["verdict"], gate["of"], gate["at_least"]) == (verdict, 3, True)
        by_row = [[line["mass"] for line in done.controls if line["id"] == row["id"]] for row in rows]
        assert gate["value"] == pytest.approx(fmean(map(fmean, by_row)), rel=0.2)  # some were asked twice
        assert gate["low"] <= gate["value"] <= gate["high"] < 0.1
    assert all(line["score"] is None for line in done.controls)
    assert "probability of the labels" in done.pages[0][1]


def test_a_later_run_reads_nothing_again(trial, model):
    first = trial(rows_of(3), **local(model))()
    second = trial(rows_of(3), **local(model, resamples=50))()
    assert second.scores == first.scores
    assert all(call["cached"] for call in second.calls)


def _unknown():
    """Every word but these is one and the same token."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "Answer": 1, ":": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")


@pytest.mark.parametrize(
    "options",
    [{"normalizer": normalizers.Replace("4", "I.V")}, {"tokenizer": _unknown()}],
    ids=["a label of two tokens", "one token for all labels"],
)
def test_a_vocabulary_without_the_labels_is_refused(trial, tmp_path, options):
    folder = judge_in(tmp_path / "model", **options)
    with pytest.raises(StageError, match=r"the labels 0, 1, 2, 3, 4, 5 are not one token each"):
        trial(rows_of(9), **local(folder))()


def test_a_prompt_that_is_too_long_is_missing_and_not_cut(trial, model):
    rows = [row_of(0), row_of(1, response=" ".join(map(str, range(2000)))), row_of(2)]
    done = trial(rows, **local(model))()
    assert [score is None for score in done.scores] == [False, True, False]
    tokens = done.lines[1]["missing_because"].split()[8]
    assert int(tokens) > CONTEXT
    assert done.lines[1]["missing_because"] == (
        f"the judge refused the prompt: the prompt has {tokens} tokens, the model reads {CONTEXT}"
    )


def test_the_digest_is_that_of_the_weights(tmp_path, model):
    same = judge_in(tmp_path / "same")
    other = judge_in(tmp_path / "other", seed=4)
    digests = [local(folder)["digest"] for folder in (model, same, other)]
    assert digests[0] == digests[1] != digests[2]


def test_pitfall_44_model_altered_while_loading_does_not_judge(tmp_path):
    folder = judge_in(tmp_path / "model")
    judge = Local(JudgeConfig(scorer=f"hf:{folder}", device="cpu"), str(folder), LABELS)
    asyncio.run(judge.identify())
    (folder / "note.txt").write_text("altered")
    with pytest.raises(StageError, match=r"hf:.* was altered since its SHA-256 was taken"):
        asyncio.run(judge.send(judge.request([{"role": "user", "content": "City0"}], 1)))


def test_pitfall_44_model_other_than_in_the_key_is_not_asked(tmp_path, model):
    config = JudgeConfig(scorer=f"hf:{model}", device="cpu")
    with (
        AnswerStore(tmp_path / "answers.db") as answers,
        pytest.raises(StageError, match=r"is not the model that was there when the stage began"),
    ):
        asyncio.run(ask(config, config.scorer, LABELS, [], answers, lambda _: None, expected="0" * 64))


@pytest.mark.parametrize("spoil", [float("nan"), float("inf")])
def test_a_model_that_computes_no_numbers_gives_no_scores(trial, tmp_path, spoil):
    folder = judge_in(tmp_path / "model", spoil=spoil)
    done = trial(rows_of(2), **local(folder))()
    assert done.scores == [None, None]
    assert "the model gives the labels no probability that is a number" in done.lines[0]["missing_because"]
    assert (done.judged["status"], done.judged["mean"]) == ("too_many_missing", None)


def test_a_choice_is_between_two_letters(tmp_path, model):
    question = Question(as_row(), "City0, or City1.")
    config = JudgeConfig(scorer=f"hf:{model}", device="cpu", min_mass=0.0)
    with AnswerStore(tmp_path / "answers.db") as answers:
        asked = ask(config, config.scorer, CHOICE_LABELS, [question], answers, lambda _: None)
        _, (verdict,) = asyncio.run(asked)
    text = "\n\n".join(message["content"] for message in CHOICE_LABELS.messages(question)) + "\n\nAnswer:"
    assert verdict.score == pytest.approx(by_hand(model, text, {"A": 100.0, "B": 0.0}), abs=1e-3)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot be loaded"),
        (lambda folder: (folder / "config.json").unlink(), "cannot be loaded: Unrecognized model"),
        (lambda folder: [path.unlink() for path in folder.glob("tokenizer*")], "are not one token each"),
    ],
    ids=["weights", "config", "tokenizer"],
)
def test_a_folder_without_a_whole_model_is_told(trial, tmp_path, spoil, told):
    folder = judge_in(tmp_path / "model")
    spoil(folder)
    with pytest.raises(StageError, match=f"hf:{folder} .*({told})"):
        trial(rows_of(9), **local(folder))()


def test_a_name_that_is_no_folder_is_looked_for_on_the_hub():
    with pytest.raises(StageError, match=r"hf:nobody/nothing is no folder here and could not be downloaded"):
        digests_of(JudgeConfig(scorer="hf:nobody/nothing"))


def test_a_bare_number_is_asked_of_no_local_judge():
    with pytest.raises(ValueError, match="plain is not for hf:x"):
        AuditConfig(scorer="hf:x", prompt="plain")
