"""Each engine is told what it needs; those for a GPU stand behind the same front, here as an impostor."""

import json
import sys

import httpx
import pytest

from flows.serving import engines
from flows.serving.engines import EngineOptions, serving, transformers_command
from flows.serving.serve import Listener, instructions, key_in
from tasks.errors import StageError, UsageError
from tasks.serve.front import Engine, Front
from tasks.serve.models import local_model
from tests.serve.test_front import reached
from tests.serve.tiny import tiny_model

VLLM = """\
#!{python}
import http.server, json, os, sys
log = open({log!r}, "w")
log.write(json.dumps(sys.argv[1:]) + "\\n")
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        told = [self.path, self.headers["authorization"], json.loads(body)]
        log.write(json.dumps(told) + "\\n"); log.flush()
        choice = {{"index": 0, "text": "Hi", "finish_reason": "stop", "logprobs": None}}
        usage = {{"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
        whole = {{"id": "1", "created": 1, "model": "tiny", "choices": [choice], "usage": usage}}
        self.send_response(200); self.end_headers(); self.wfile.write(json.dumps(whole).encode())
    def log_message(self, *_): pass
port = int(sys.argv[sys.argv.index("--port") + 1])
assert os.environ["VLLM_API_KEY"]
http.server.HTTPServer(("127.0.0.1", port), Answer).serve_forever()
"""


@pytest.fixture
def at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("TOUCHSTONE_HOME", str(tmp_path))
    return tmp_path


def test_vllm_is_given_the_tokens_of_the_prompt(at_home, monkeypatch):
    log, program = at_home / "log", at_home / "vllm"
    program.write_text(VLLM.format(python=sys.executable, log=str(log)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{at_home}:/bin:/usr/bin")
    model = tiny_model(at_home / "output")
    options = EngineOptions("vllm", parallel=3, context=128)
    with serving(model, options) as front, reached(front) as client:
        asked = [{"role": "user", "content": "Hello"}]
        answer = client.chat.completions.create(model="tiny", messages=asked)
    assert answer.choices[0].message.content == "Hi"
    command, (path, login, body) = map(json.loads, log.read_text().splitlines())
    assert command[:2] == ["serve", str(engines.kept("folders").folder / model.fingerprint())]
    told = dict(zip(command[2::2], command[3::2], strict=True))
    assert told.pop("--port").isdecimal()
    assert told == {
        "--served-model-name": "tiny",
        "--host": "127.0.0.1",
        "--generation-config": "vllm",
        "--max-model-len": "128",
        "--max-num-seqs": "3",
    }
    assert (path, login[:7]) == ("/v1/completions", "Bearer ")
    row = {"instruction": "Hello", "input": ""}
    assert body["prompt"] == model.template.prompt_ids(row)
    assert body["max_tokens"] == 128 - len(body["prompt"])
    with pytest.raises(httpx.ConnectError):
        httpx.get(front.engine.address)


def test_an_engine_that_is_not_installed_is_told(at_home, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with (
        pytest.raises(StageError, match="vllm is not on the PATH"),
        serving(tiny_model(at_home / "output"), EngineOptions("vllm")),
    ):
        pass
    monkeypatch.setattr(engines, "is_serve_available", lambda: False)
    with pytest.raises(StageError, match=r"pip install 'transformers\[serving\]'"):
        transformers_command(at_home, 1)
    monkeypatch.setattr(engines, "is_serve_available", lambda: True)
    assert transformers_command(at_home, 1)[1:] == [
        "serve",
        str(at_home),
        "--host",
        "127.0.0.1",
        "--port",
        "1",
    ]


def test_options_that_an_engine_lacks_are_refused(at_home, smollm2_gguf):
    model, file = tiny_model(at_home / "output"), local_model(smollm2_gguf)
    for options, of in (
        (EngineOptions("vllm", quantize="q8_0"), model),
        (EngineOptions("vllm"), file),
        (EngineOptions("transformers", parallel=2), model),
        (EngineOptions("llamacpp", quantize="q8_0"), file),
        (EngineOptions("llamacpp", context=9999), model),
        (EngineOptions("vllm", context=9999), model),
    ):
        with pytest.raises(UsageError), serving(of, options):
            pass


def test_a_quantized_model_is_served_under_its_name(at_home):
    model = tiny_model(at_home / "output", name="touchstone-tiny/3")
    with serving(model, EngineOptions(quantize="q8_0")) as front, reached(front) as client:
        assert [one.id for one in client.models.list()] == ["touchstone-tiny/3"]
        answer = client.completions.create(model="touchstone-tiny/3", prompt="The", max_tokens=2)
    assert answer.usage.completion_tokens <= 2
    assert [path.name[-9:] for path in (at_home / "mlruns/work/shared/gguf").glob("*.gguf")] == ["q8_0.gguf"]


def test_other_machines_are_let_in_with_a_key_alone(monkeypatch):
    with pytest.raises(UsageError, match="lets other machines in; name the variable"):
        Listener("0.0.0.0", 0).open()
    for value in ("", "short", "a key with an ä that is long"):
        monkeypatch.setenv("OUR_KEY", value)
        with pytest.raises(UsageError, match="--api-key-env OUR_KEY: it"):
            key_in("OUR_KEY")
    monkeypatch.setenv("OUR_KEY", "0123456789abcdef")
    with Listener("0.0.0.0", 0, key_in("OUR_KEY")).open() as at:
        assert at.getsockname()[1]


def test_a_port_that_is_taken_is_told():
    with Listener("127.0.0.1", 0).open() as at:
        port = at.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} of 127.0.0.1 is taken; take another: --port"):
            Listener("127.0.0.1", port).open()


def test_it_says_how_to_ask():
    front = Front("touchstone-quickstart/1", Engine("http://127.0.0.1:1"), context=256)
    told = instructions([front], Listener("0.0.0.0", 8080, "key"), "OUR_KEY")
    assert "touchstone-quickstart/1 is served at http://127.0.0.1:8080/v1, context 256 tokens" in told
    assert '-H "Authorization: Bearer $OUR_KEY"' in told
    assert 'api_key=os.environ["OUR_KEY"]' in told


def test_the_command_refuses_what_it_does_not_know(touchstone, tmp_path):
    assert touchstone("serve", "x.gguf", "--engine", "onnx")[0] == 2
    status, _, told = touchstone("serve")
    assert (status, "say which MODEL is served, or --on-demand N" in told) == (2, True)
    (tmp_path / "there.gguf").touch()
    status, _, told = touchstone("serve", str(tmp_path / "there.gguf"), "--quantize", "q3_k")
    assert (status, "expected f32, f16" in told) == (2, True)
    status, _, told = touchstone("serve", "x.gguf", "--port", "18765")
    assert (status, "there is no file x.gguf" in told) == (2, True)
    status, _, told = touchstone("chat", "nothing")
    assert (status, "'nothing' is no run" in told) == (2, True)
