"""A model as GGUF files, a file a kind of numbers, each checked before it is called done.

Transformers reads every file back; llama.cpp, where it is installed, cuts the same texts into the same tokens
and answers alike; and the test rows are answered from each file, so that what its numbers cost is known.
"""

import copy
import subprocess
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from tasks.compat.gguf_reading import without_progress_bar
from tasks.config.exporting import K_KINDS
from tasks.data.reading import Message
from tasks.errors import StageError
from tasks.export.costs import cost_of
from tasks.export.folder import probe_ids
from tasks.export.gguf_file import write_gguf
from tasks.export.llama_cpp import Answers, Questions, ask
from tasks.export.source import Check, ExportSource, Written
from tasks.export.tools import QUANTIZER, has_llama_cpp, quantizer
from tasks.generate.decoding import Reader
from tasks.machine.disk import require_space, writing
from tasks.models.architectures import longest
from tasks.tokenize.stage import text_ids

UNQUANTIZED = "f32"
ROUNDING = 1e-4  # of the largest logit: float32 sums in another order
TIE = 1e-3  # between two logits: nearer ones are decided by rounding
ANSWER = 24  # tokens of each greedy answer that is compared
TEXTS = (
    "The quick brown fox jumps over 13 lazy dogs, doesn't it?",
    "Grüße aus Köln: Straße, Äpfel, œuvre, façade.",
    "Съешь же ещё этих мягких французских булок.",
    "天地玄黄，宇宙洪荒。日月盈昃。",
    "ひらがなとカタカナ、漢字。",
    "أبجد هوز حطي كلمن",
    "नमस्ते दुनिया",
    "Tabs\tand\n\nlines  with   spaces \r\n end ",
    "👩‍👩‍👧 🎉 e\u0301 x² ½ 12345678",
)


def write(source: ExportSource) -> Written:
    """Each kind that is asked for, as `NAME-KIND.gguf`; the unquantized is checked in any case.

    Raises StageError for an architecture or a tokenizer that GGUF cannot express, and for a file that is not
    read back as it was written.
    """
    kinds = source.config.kinds
    if any(kind in K_KINDS for kind in kinds):
        quantizer(source.config)  # before anything takes time
    require_space(source.run.out, source.size * (1 + len(kinds)), "the GGUF files")
    original = source.load()
    written = Written()
    whole = _write_whole(source, original)
    written.checks += [_same_logits(original, whole)]
    if has_llama_cpp():
        written.checks += _asked_alike(source, original, whole)
    else:
        written.notes.append(
            "llama.cpp is not installed, so how it cuts texts into tokens was not compared. Install "
            "touchstone[llamacpp] and export again to have that checked."
        )
    for kind in (UNQUANTIZED, *(kind for kind in kinds if kind != UNQUANTIZED)):
        path = whole if kind == UNQUANTIZED else _quantized(source, original, whole, kind)
        if kind != UNQUANTIZED and has_llama_cpp():
            written.checks.append(_still_answers(source, original, path))
        if source.test and (cost := cost_of(source, read_back(path, original), path.name, kind)):
            written.costs.append(cost)
    if UNQUANTIZED not in kinds:
        whole.unlink()
    if not written.costs:
        written.notes.append(
            "What the numbers of the files cost was not measured: no test rows are known of this model. "
            "Export a run, or a version of the registry, to have that measured."
        )
    return written


def gguf_path(source: ExportSource, kind: str) -> Path:
    return source.files / f"{source.name}-{kind}.gguf"


def read_back(path: Path, original: PreTrainedModel) -> PreTrainedModel:
    """The model in a file, in float32, free of marks of its kind.

    Transformers maps GPT-2's context length wrongly, so the original's configuration goes with it.
    """
    with without_progress_bar():
        read = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, config=copy.deepcopy(original.config), dtype=torch.float32
        )
    plain = AutoModelForCausalLM.from_config(copy.deepcopy(original.config), dtype=torch.float32)
    plain.load_state_dict(read.state_dict())
    plain.generation_config = copy.deepcopy(original.generation_config)
    return plain.eval()


def _write_whole(source: ExportSource, original: PreTrainedModel) -> Path:
    source.run.phase("writing the unquantized file")
    return _written(source, original, UNQUANTIZED)


def _written(source: ExportSource, original: PreTrainedModel, kind: str) -> Path:
    path = gguf_path(source, kind)
    template = source.template.chat_template if source.template else None
    with writing(path.name, source.files):
        write_gguf(original, source.tokenizer, path, kind=kind, name=source.name, chat_template=template)
    return path


def _quantized(source: ExportSource, original: PreTrainedModel, whole: Path, kind: str) -> Path:
    source.run.phase(f"writing {kind}")
    if kind not in K_KINDS:
        return _written(source, original, kind)
    path = gguf_path(source, kind)
    command = [quantizer(source.config), str(whole), str(path), kind.upper()]
    ended = subprocess.run(command, capture_output=True, check=False)
    if ended.returncode or not path.exists():
        told = (ended.stderr or ended.stdout).decode(errors="replace").strip().splitlines()
        raise StageError(f"{QUANTIZER} made no {kind}: {told[-1] if told else ended.returncode}")
    return path


# Checks


@torch.no_grad()
def _same_logits(original: PreTrainedModel, path: Path) -> Check:
    ids = probe_ids(original)
    expected, found = original(ids).logits, read_back(path, original)(ids).logits
    apart = ((expected - found).abs().max() / expected.abs().max()).item()
    if not apart <= ROUNDING:
        raise StageError(
            f"{path.name}, read back by Transformers, gives other logits: {apart:.2g} of the largest apart, "
            f"and at most {ROUNDING} is rounding. This is a defect of the writer for this model"
        )
    return Check(
        "Unquantized, read back by Transformers",
        f"logits of {ids.numel()} tokens are the model's within {apart:.1e} of the largest",
    )


def _asked_alike(source: ExportSource, original: PreTrainedModel, path: Path) -> list[Check]:
    """That llama.cpp cuts texts and prompts into our tokens, and answers as Transformers does."""
    source.run.phase("asking llama.cpp")
    texts = [*TEXTS, " ".join(["Text:", *source.tokenizer.all_special_tokens, "is text."])]
    expected = text_ids(source.tokenizer, texts)
    conversations = [] if source.template is None else _conversations(source)
    prompts = [prompt for _, prompt in conversations] or [ids for ids in expected if ids]
    room = int(min(longest(original), 2**20)) - ANSWER
    prompts = [ids for ids in prompts if len(ids) < room]
    found = _ask(path, original, texts, [messages for messages, _ in conversations], prompts)
    for text, ours, theirs in zip(texts, expected, found.texts, strict=True):
        if ours != theirs:
            raise _cut_otherwise(path, text, ours, theirs)
    for (messages, ours), theirs in zip(conversations, found.conversations, strict=True):
        if ours != theirs:
            raise _cut_otherwise(path, str(messages[-1]["content"]), ours, theirs)
    for ours, theirs in zip(prompts, found.prompts, strict=True):
        _require_greedy(source, original, path, ours, theirs)
    tokens = sum(map(len, expected)) + sum(len(ids) for _, ids in conversations)
    asked = f"{len(texts)} texts in several scripts and {len(conversations)} prompts"
    return [
        Check("Tokens in llama.cpp", f"the same {tokens:,} for {asked} (xllamacpp {found.version})"),
        Check(
            "Unquantized, greedy in llama.cpp",
            f"{len(prompts)} answers of up to {ANSWER} tokens are those of Transformers",
        ),
    ]


def _ask(
    path: Path,
    original: PreTrainedModel,
    texts: list[str],
    conversations: list[list[Message]],
    prompts: list[list[int]],
) -> Answers:
    context = max(map(len, prompts), default=0) + ANSWER + 1
    context = int(min(longest(original), max(256, context)))
    return ask(path, Questions(texts, conversations, prompts, ANSWER, context))


def _conversations(source: ExportSource) -> list[tuple[list[Message], list[int]]]:
    """Chats with the tokens of their prompts, as the model was trained: one turn, and several."""
    template, first = source.template, "What is the capital of France?"
    rows = [{"instruction": text} for text in (first, *TEXTS[1:5])]
    before = [{"role": "user", "content": first}, {"role": "assistant", "content": "Paris."}]
    rows.append({"instruction": "And of Spain?", "messages": before})
    return [(template.messages(row), template.prompt_ids(row)) for row in rows]


def _cut_otherwise(path: Path, text: str, ours: list[int], theirs: list[int]) -> StageError:
    place = next((at for at, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), -1)
    place = min(len(ours), len(theirs)) if place < 0 else place
    return StageError(
        f"llama.cpp cuts {text[:60]!r} into other tokens by {path.name}: {theirs[place : place + 6]} where "
        f"the model was trained on {ours[place : place + 6]} (from token {place} of {len(ours)} on). Export "
        "the model as a folder"
    )


@torch.no_grad()
def _require_greedy(
    source: ExportSource, original: PreTrainedModel, path: Path, prompt: list[int], answer: list[int]
) -> None:
    """Raises StageError where a token of the answer is not the likeliest, by more than rounding."""
    ends, read = source.ends(original), Reader(original)
    for place, token in enumerate(answer):
        logits = read.alone([*prompt, *answer[:place]])[0]
        best = int(logits.argmax())
        if logits[best] - logits[token] > TIE * logits.abs().max():
            raise StageError(
                f"llama.cpp answers by {path.name} with token {token} where Transformers has {best} (token "
                f"{place} of an answer). This is a defect of the writer for this model"
            )
        if token in ends:
            return
    # llama.cpp leaves the end token out of what it returns
    if len(answer) < ANSWER and int(read.alone([*prompt, *answer])[0].argmax()) not in ends:
        raise StageError(f"llama.cpp ends an answer by {path.name} where Transformers goes on")


def _still_answers(source: ExportSource, original: PreTrainedModel, path: Path) -> Check:
    """That llama.cpp can use a quantized file; how well it answers is what the costs say."""
    source.run.phase(f"{path.name}: asking llama.cpp")
    conversations = [] if source.template is None else _conversations(source)[:1]
    prompts = [ids for _, ids in conversations] or text_ids(source.tokenizer, list(TEXTS[:1]))
    found = _ask(path, original, [], [], prompts)
    return Check(f"{path.name} in llama.cpp", f"answers with {len(found.prompts[0])} tokens")
