"""A GGUF file in a real llama.cpp: how it cuts texts into tokens, and what it answers.

llama.cpp ends its process where a file is not as it expects, so it is asked in one of its own: this module,
run with the paths of the file, of the questions and of the answers.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.errors import StageError

if TYPE_CHECKING:  # the process of its own need not wait for pandas
    from tasks.data.reading import Message

TIMEOUT = 900.0  # seconds for all questions; a large file takes minutes to read
TOLD = 400  # characters of its last words


@dataclass(frozen=True)
class Questions:
    """What a file is asked."""

    texts: list[str]
    """To be cut into tokens as text: nothing in them is special."""
    conversations: "list[list[Message]]"
    """To be made prompts by the file's own chat template, and cut into tokens."""
    prompts: list[list[int]]
    """Tokens to be continued greedily."""
    most_tokens: int
    """Of each continuation."""
    context: int


@dataclass(frozen=True)
class Answers:
    """What llama.cpp made of them: tokens, in the order of the questions."""

    texts: list[list[int]]
    conversations: list[list[int]]
    prompts: list[list[int]]
    version: str
    """Of the package that brings llama.cpp."""


def ask(path: Path, questions: Questions) -> Answers:
    """Raises StageError when llama.cpp cannot read the file, or ends before it has answered."""
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder, "questions.json"), Path(folder, "answers.json")
        asked.write_text(json.dumps(asdict(questions), allow_nan=False), encoding="utf-8")
        command = [sys.executable, "-m", __name__, str(path), str(asked), str(answered)]
        try:
            ended = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
        except subprocess.TimeoutExpired as error:
            raise StageError(f"llama.cpp had not answered by {path.name} after {TIMEOUT:.0f} s") from error
        if ended.returncode or not answered.exists():
            told = ended.stderr.decode(errors="replace").strip()[-TOLD:]
            raise StageError(
                f"llama.cpp cannot use {path.name} (it ended with {ended.returncode}): {told}. Export the "
                "model as a folder"
            )
        return Answers(**json.loads(answered.read_text(encoding="utf-8")))


def main(path: str, asked: str, answered: str) -> None:
    """In the process of its own."""
    import httpx
    import xllamacpp

    questions = Questions(**json.loads(Path(asked).read_text(encoding="utf-8")))
    parameters = xllamacpp.CommonParams()
    parameters.model.path = path
    parameters.n_ctx = questions.context
    parameters.n_parallel = 1
    parameters.n_gpu_layers = 0
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    parameters.use_jinja = True
    parameters.warmup = False
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(parameters)
    with httpx.Client(base_url=server.listening_address, timeout=TIMEOUT, trust_env=False) as client:

        def post(endpoint: str, **body: object) -> dict:
            answer = client.post(endpoint, json=body)
            if answer.status_code != 200:
                sys.exit(f"{endpoint}: {answer.text}")
            return answer.json()

        def tokens(text: str, *, special: bool) -> list[int]:
            return post("/tokenize", content=text, add_special=False, parse_special=special)["tokens"]

        def prompt(messages: "list[Message]") -> list[int]:
            return tokens(post("/apply-template", messages=messages)["prompt"], special=True)

        def continued(ids: list[int]) -> list[int]:
            settings = {"n_predict": questions.most_tokens, "temperature": 0, "cache_prompt": False}
            return post("/completion", prompt=ids, return_tokens=True, **settings)["tokens"]

        answers = Answers(
            texts=[tokens(text, special=False) for text in questions.texts],
            conversations=[prompt(messages) for messages in questions.conversations],
            prompts=[continued(ids) for ids in questions.prompts],
            version=version("xllamacpp"),
        )
    Path(answered).write_text(json.dumps(asdict(answers), allow_nan=False), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
