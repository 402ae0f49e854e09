"""The real llama.cpp is started on loopback, closed to web pages and to whoever lacks its key."""

import socket
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import pytest
from transformers import AutoConfig, AutoTokenizer

from tasks.errors import StageError, UsageError
from tasks.serve.llama_cpp import llama_cpp, room_of
from tests.real_models import SMOLLM2

EVIL = {"Origin": "http://evil.example"}


def test_the_real_model_answers(llama_server):
    asked = {"prompt": "The capital of France is", "temperature": 0}
    answer = httpx.post(
        f"{llama_server.address}/v1/completions",
        json=asked | {"max_tokens": 12},
        headers=llama_server.headers,
        timeout=60,
    ).json()
    assert "Paris" in answer["choices"][0]["text"]
    assert answer["model"] == SMOLLM2


def test_nobody_gets_in_without_the_key(llama_server):
    answer = httpx.post(f"{llama_server.address}/v1/completions", json={"prompt": "a"})
    assert answer.status_code == 401


def test_idle_connections_keep_nobody_waiting(smollm2_gguf):
    """By default six are read at once, and others wait until one of these has been idle for five seconds."""
    with llama_cpp(smollm2_gguf, SMOLLM2, context=64) as server, ExitStack() as opened:
        place = urlsplit(server.address)
        request = f"GET /v1/models HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {server.key}\r\n\r\n"
        connections = [
            opened.enter_context(socket.create_connection((place.hostname, place.port), timeout=4))
            for _ in range(20)
        ]
        for connection in connections:
            connection.sendall(request.encode())
        assert all(connection.recv(15) == b"HTTP/1.1 200 OK" for connection in connections)


def test_pages_of_other_sites_are_allowed_nothing(llama_server):
    answer = httpx.options(f"{llama_server.address}/v1/completions", headers=EVIL)
    assert answer.headers["access-control-allow-origin"] == ""
    assert answer.headers["access-control-allow-credentials"] == "false"


def test_the_folder_is_the_same_model(smollm2_folder):
    assert AutoConfig.from_pretrained(smollm2_folder).num_hidden_layers == 30
    assert AutoTokenizer.from_pretrained(smollm2_folder).eos_token == "<|im_end|>"


def test_a_context_that_the_model_lacks_is_refused(smollm2_gguf):
    assert room_of(smollm2_gguf, None) == 4096
    with pytest.raises(UsageError, match="context is 8192 tokens; 9000 were asked for"):
        room_of(smollm2_gguf, 9000)


@pytest.mark.parametrize("content", [b"GGUF" + bytes(50), b"PK", b"GGUF\3" + bytes(11) + b"\1"])
def test_a_file_that_is_no_gguf_is_refused(tmp_path, content):
    (tmp_path / "model.gguf").write_bytes(content)
    with (
        pytest.raises(StageError, match=r"model\.gguf cannot be read as a GGUF file"),
        llama_cpp(tmp_path / "model.gguf", "model"),
    ):
        pass


def test_the_server_ends_with_the_body(smollm2_gguf):
    with llama_cpp(smollm2_gguf, "model", context=64) as server:
        address = server.address
        assert httpx.get(f"{address}/health").status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/health")
