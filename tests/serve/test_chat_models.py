"""A chat asks a model as it was trained, and answers as the generate stage does."""

import errno
from contextlib import ExitStack

import pytest
import torch

from tasks.config import GenerateConfig
from tasks.errors import StageError, UsageError
from tasks.generate.decoding import Decoder, Prompt
from tasks.machine.kept_files import KeptFiles
from tasks.serve.chat_models import ChatSettings, open_chat
from tasks.serve.conversation import Conversation
from tasks.serve.models import LocalModel, gguf_of, local_model
from tasks.tokenize.stage import characters
from tasks.tokenize.templates import OURS
from tests.serve.tiny import tiny_model

TURNS = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "Hello <|endoftext|>"},
    {"role": "assistant", "content": "Hi"},
]


@pytest.fixture
def opened():
    with ExitStack() as stack:
        yield lambda model: open_chat(model, stack)


def words(answer):
    return "".join(answer.pieces), answer.ended


@pytest.mark.parametrize("name", OURS)
def test_the_prompt_of_a_chat_is_the_prompt_trained_on(tmp_path, opened, name):
    local = tiny_model(tmp_path, name)
    talk = Conversation(opened(local), system="Be short.")
    talk.add("Hello <|endoftext|>", "Hi")
    row = talk.fitting("Why?", ChatSettings(max_tokens=1))
    trained = {"instruction": "Why?", "input": "", "messages": TURNS}
    assert [token.id for token in talk.model.tokens(row)] == local.template.prompt_ids(trained)


@pytest.mark.parametrize("drawn", [{}, {"temperature": 0.8, "top_k": 5}])
def test_the_answer_is_that_of_the_generate_stage(tmp_path, opened, drawn):
    local = tiny_model(tmp_path)
    model, row = opened(local), {"instruction": "Name the opposite of hot.", "input": ""}
    network, tokenizer = local.load()
    config = GenerateConfig(**({**drawn, "decoding": "sample"} if drawn else {}))
    prompt = Prompt("chat", local.template.prompt_ids(row), 12)
    decoder = Decoder(network.eval(), config, frozenset([tokenizer.eos_token_id]))
    ids = next(ids for step in decoder.decode([prompt]) for _, ids in step)
    answer = model.answer(row, ChatSettings(max_tokens=12, **drawn))
    assert words(answer) == (local.template.response(ids), "length")


def test_a_gguf_file_answers_with_the_words_of_transformers(opened, smollm2_folder, smollm2_f32_gguf):
    row = {"instruction": "What is the capital of France?", "input": ""}
    of_file, of_folder = opened(local_model(smollm2_f32_gguf)), opened(local_model(smollm2_folder))
    assert [one.id for one in of_file.tokens(row)] == [one.id for one in of_folder.tokens(row)]
    said, ended = words(of_file.answer(row, ChatSettings(max_tokens=8)))
    assert (said.strip(), ended) == words(of_folder.answer(row, ChatSettings(max_tokens=8)))


def test_the_oldest_turns_go_when_the_context_is_full(tmp_path, opened):
    talk = Conversation(opened(tiny_model(tmp_path, context=128)), system="Be short.")
    for number in range(6):
        talk.add(f"Number {number} of the instructions", "the opposite")
    row = talk.fitting("Why?", ChatSettings(max_tokens=8))
    assert talk.dropped > 0
    assert row["messages"][0] == {"role": "system", "content": "Be short."}
    assert row["messages"][1]["role"] == "user"
    assert len(talk.model.tokens(row)) + 8 <= 128
    assert talk.fitting("Why?", ChatSettings(max_tokens=8)) == row
    assert talk.dropped == 0
    with pytest.raises(UsageError, match=r"this is \d+ tokens, and tiny has a context of 128"):
        talk.fitting("hot " * 200, ChatSettings())


def test_an_answer_that_fills_the_context_says_so(tmp_path, opened):
    model = opened(tiny_model(tmp_path, context=64, template="plain"))
    assert words(model.answer({"instruction": "Name", "input": ""}, ChatSettings()))[1] == "context"


def test_settings_are_checked():
    settings = ChatSettings().with_setting("temperature=0.8").with_setting("top_k = 40")
    assert (settings.temperature, settings.top_k) == (0.8, 40)
    assert settings.with_setting("top_k=null").top_k is None
    for wrong in ("heat=1", "temperature", "temperature=hot", "top_p=2"):
        with pytest.raises(UsageError):
            settings.with_setting(wrong)


def test_a_model_is_found_in_what_is_a_model(tmp_path, smollm2_gguf):
    tiny_model(tmp_path / "output")
    assert local_model(tmp_path / "output").template_name == "alpaca"
    assert local_model(tmp_path / "output" / "model").template.name == "alpaca"  # by what the tokenizer has
    (tmp_path / "adapters").mkdir()
    with pytest.raises(UsageError, match="holds no model"):
        local_model(tmp_path / "adapters")
    (tmp_path / "adapters" / "adapter_config.json").write_text("{}")
    with pytest.raises(UsageError, match="adapters alone"):
        local_model(tmp_path / "adapters")
    with (
        pytest.raises(UsageError, match="leave out --quantize q8_0"),
        gguf_of(local_model(smollm2_gguf), "q8_0", KeptFiles(tmp_path)),
    ):
        pass
    with pytest.raises(UsageError, match=r"a classifier: it gives labels \(ham, spam\)"):
        LocalModel("spam", tmp_path, labels=("ham", "spam"), task="classification").require_text("")


def test_a_gguf_file_is_written_once_for_each_kind(tmp_path):
    model, kept = tiny_model(tmp_path / "output"), KeptFiles(tmp_path / "cache")
    with gguf_of(model, None, kept) as first:
        written = first.stat().st_mtime_ns
        with gguf_of(model, None, kept) as again, gguf_of(model, "q8_0", kept) as other:
            assert again == first != other
            assert first.stat().st_mtime_ns == written


def test_tokenizer_that_llama_cpp_lacks_is_refused(tmp_path):
    model = tiny_model(tmp_path / "output")
    characters(["abc"]).save_pretrained(model.path)
    kept = KeptFiles(tmp_path / "cache")
    with (
        pytest.raises(StageError, match=r"whole word or character.* or serve it by Transformers \(--eng"),
        gguf_of(model, None, kept),
    ):
        pass
    assert not list(kept.folder.glob("*.part"))


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), OSError("4096 requested and 100 written")])
def test_a_full_disk_is_one_message_and_no_file(tmp_path, monkeypatch, error):
    def write_gguf(*arguments, **_):
        arguments[2].write_bytes(b"GGUF")
        raise error

    monkeypatch.setattr("tasks.serve.models.write_gguf", write_gguf)
    model, kept = tiny_model(tmp_path / "output"), KeptFiles(tmp_path / "cache")
    with (
        pytest.raises(StageError, match=r"the disk was full while \S+-f32.gguf was written to .* bytes"),
        gguf_of(model, None, kept),
    ):
        pass
    assert [path.suffix for path in kept.folder.iterdir()] == [".lock"]


def test_a_classifier_answers_with_its_labels(opened, monkeypatch, tmp_path):
    from transformers import GPT2Config, GPT2ForSequenceClassification

    torch.manual_seed(0)
    tokenizer = tiny_model(tmp_path).template.tokenizer
    shape = GPT2Config(vocab_size=len(tokenizer), n_positions=32, n_embd=16, n_layer=1, n_head=2)
    shape.id2label, shape.pad_token_id = {0: "ham", 1: "spam"}, tokenizer.eos_token_id
    GPT2ForSequenceClassification(shape).save_pretrained(tmp_path / "spam")
    tokenizer.save_pretrained(tmp_path / "spam")
    model = opened(LocalModel("spam", tmp_path / "spam", labels=("ham", "spam"), task="classification"))
    talk = Conversation(model)
    said, ended = words(model.answer(talk.fitting("free cash", ChatSettings()), ChatSettings()))
    assert ended == "stop"
    assert sorted(part.split()[0] for part in said.split(", ")) == ["ham", "spam"]
    talk.add("free cash", said)
    assert talk.turns == []
