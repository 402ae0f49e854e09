"""Ollama makes the prompts that the model was trained on, from a Go template of each of our templates."""

import json

import pytest

from tasks.config import ExportConfig
from tasks.errors import StageError
from tasks.export import gguf
from tasks.export.deliver import deliver
from tasks.export.go_templates import go_template
from tasks.export.ollama import OllamaModel
from tasks.export.stage import export
from tasks.report.exports import FILES
from tasks.tokenize.templates import CHATML, OURS, load_template
from tests.export_models import model_in, tokenizer_of
from tests.go_template import render
from tests.ollama_server import OllamaServer

SYSTEM = {"role": "system", "content": "Be brief."}
ASKED = {"role": "user", "content": 'Say {{ "a" }}\n and  more. '}
ANSWERED = {"role": "assistant", "content": "Ja, größer."}
CONVERSATIONS = [
    [ASKED],
    [ASKED, ANSWERED, ASKED],
    [SYSTEM, ASKED],
    [SYSTEM, ASKED, ANSWERED, ASKED, ANSWERED, ASKED],
]


def prompt_of(go, messages):
    """As Ollama puts it together."""
    if go.system is not None and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": go.system}, *messages]
    turns = [{"Role": one["role"], "Content": one["content"]} for one in messages]
    system = "\n\n".join(one["content"] for one in messages if one["role"] == "system")
    return render(go.template, Messages=turns, System=system)


@pytest.mark.parametrize("messages", CONVERSATIONS)
@pytest.mark.parametrize("name", OURS)
def test_the_go_template_gives_the_prompt_that_was_trained_on(name, messages):
    template = load_template(name, tokenizer_of())
    go = go_template(template)
    expected = template.tokenizer.apply_chat_template(
        messages, chat_template=template.chat_template, tokenize=False, add_generation_prompt=True
    )
    assert prompt_of(go, messages) == expected
    assert template.tokenizer.eos_token in go.stop


def with_own_template(template):
    tokenizer = tokenizer_of()
    tokenizer.chat_template = template
    return load_template("tokenizer", tokenizer)


HELPFUL = (
    "{%- if messages[0].role != 'system' %}"
    "{{ '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}{% endif -%}"
)


@pytest.mark.parametrize(("begin", "system"), [("", None), (HELPFUL, "You are helpful.")])
@pytest.mark.parametrize("messages", CONVERSATIONS)
def test_tokenizers_own_chatml_is_known_with_system_message(messages, begin, system):
    template = with_own_template(begin + CHATML)
    go = go_template(template)
    assert go.system == system
    expected = template.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert prompt_of(go, messages) == expected


@pytest.mark.parametrize("own", [OURS["phi3"], CHATML.replace("im_start", "im_begin"), "Today.\n" + CHATML])
def test_another_template_of_a_tokenizer_is_refused(own):
    with pytest.raises(StageError, match=r"the tokenizer's own chat template .* Export it as gguf"):
        go_template(with_own_template(own))


@pytest.fixture
def written(tmp_path, stage_run, monkeypatch):
    """The output of an export, of a template."""
    monkeypatch.setattr(gguf, "has_llama_cpp", lambda: False)

    def make(template="phi3"):
        run = stage_run(f"export {template}")
        config = ExportConfig(to="ollama", quantize=("q8_0",), name="story", device="cpu")
        export(config, run, **model_in(tmp_path / template, template).folders)
        return config, run.out

    return make


def test_the_folder_has_all_that_ollama_create_needs(written):
    _, output = written("chatml")
    lines = (output / FILES / "Modelfile").read_text().splitlines()
    assert lines[0] == "FROM ./story-q8_0.gguf"
    assert (output / FILES / "story-q8_0.gguf").is_file()
    stops = [json.loads(line.partition(" stop ")[2]) for line in lines if line.startswith("PARAMETER stop ")]
    assert stops[:2] == ["<|im_end|>", "<|im_start|>"]


@pytest.mark.parametrize("template", OURS)
def test_the_server_has_the_model_and_makes_its_prompts(written, template):
    config, output = written(template)
    with OllamaServer() as server:
        for _ in range(2):
            (told,) = deliver(config.model_copy(update={"host": server.address}), output)
        assert f"as story: its prompts have the {OllamaModel.read(output).prompts[0]['tokens']} and" in told
        uploads = [one for one in server.requests if one.method == "POST" and "/api/blobs/" in one.path]
    assert len(uploads) == 1, "what the server has is not sent again"


def test_a_server_that_makes_other_prompts_is_told(written):
    config, output = written()
    model = OllamaModel.read(output)
    longer = [prompt | {"tokens": prompt["tokens"] + 1} for prompt in model.prompts]
    OllamaModel(**(vars(model) | {"prompts": longer})).write(output)
    with OllamaServer() as server, pytest.raises(StageError, match="tokens where story was trained on"):
        list(deliver(config.model_copy(update={"host": server.address}), output))


def test_a_file_that_arrives_damaged_is_told(written):
    config, output = written()
    path = output / FILES / "story-q8_0.gguf"
    path.write_bytes(b"GGML" + path.read_bytes()[4:])
    with OllamaServer() as server, pytest.raises(StageError, match=r"did not create the model: .*GGUF"):
        list(deliver(config.model_copy(update={"host": server.address}), output))


def test_without_a_server_the_folder_is_what_there_is(written):
    config, output = written()
    with OllamaServer() as server:
        address = server.address
    (told,) = deliver(config.model_copy(update={"host": address}), output)
    assert "no Ollama server answers" in told
    assert "`ollama create story -f Modelfile`" in told


def test_a_model_without_a_template_is_refused(tmp_path, stage_run):
    made = model_in(tmp_path / "pretrained")
    (made["model"] / "summary.json").write_text(json.dumps({"parameters": 9}))
    (made["model"] / "model" / "chat_template.jinja").unlink()
    with pytest.raises(StageError, match="has no chat template, which Ollama needs"):
        export(ExportConfig(to="ollama", device="cpu"), stage_run(), **made.folders)
