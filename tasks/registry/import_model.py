"""Taking over a model, of Hugging Face or of the registry: weights in safetensors, a tokenizer, no code."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from huggingface_hub import snapshot_download
from huggingface_hub.constants import ENDPOINT
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel

from tasks.config import BaseConfig
from tasks.data.token_files import id_count
from tasks.download.commits import ask_commit
from tasks.errors import StageError
from tasks.machine.json_files import JsonFile
from tasks.machine.proxies import require_way_to_hub
from tasks.models.classifier import POOLER
from tasks.models.kinds import ModelKind, kind_of
from tasks.models.loading import ADAPTER, load_model, load_tokenizer
from tasks.models.summary import SUMMARY, ModelSummary
from tasks.record.manifest import require_unaltered
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.stage import StageRun
from tasks.record.tracking import set_tags
from tasks.registry.random_model import write_random_model
from tasks.registry.resolve import Registered, as_fingerprinted, intact

WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
CONFIGURATION = ("config.json", "generation_config.json")
TOKENIZER = (
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "spiece.model",
)
LOADERS: dict[ModelKind, type] = {
    "causal": AutoModelForCausalLM,
    "encoder": AutoModel,
    "encoder-decoder": AutoModelForSeq2SeqLM,
}


@dataclass(frozen=True, kw_only=True)
class ImportSummary(JsonFile):
    """Of a model that was trained elsewhere, or is a registered version."""

    FILE: ClassVar[str] = SUMMARY

    model: str
    revision: str | None
    """The commit of Hugging Face, or the digest of the registered model; None of a folder."""
    registered: dict[str, str] | None = None
    """The `version` in the registry, and its `preflight`."""
    weights: str | None = None
    """`random` of a model that was drawn here and has read nothing."""
    parameters: int


def base(config: BaseConfig, run: StageRun, *, rows: Path | None = None) -> None:
    """Write `model/`, weights as they are and the tokenizer with a padding token, and `summary.json`.

    The mirror is looked in first. A registered model's summary says which version it was. Raises StageError
    for a model that cannot be had or loaded, that has no safetensors, or fewer embeddings than its tokenizer
    has tokens, for a model that writes and has no end token, an encoder or encoder-decoder without a padding
    token, and a registered model that is a classifier.

    With random weights nothing is imported (random_model.py): `rows` are what its tokenizer is trained on.
    """
    if config.is_random:
        parameters = write_random_model(config, run, rows)
        named = f"{config.model} of size {config.size}"
        told = {"model": named, "revision": None, "weights": "random", "parameters": parameters}
        _write_summary(run, ImportSummary(**told))
        return
    if config.is_registered:
        folder, origin = _from_registry(config, run)
    else:
        folder, commit = _found(config, run)
        origin = {"model": config.model, "revision": commit}
    if not any(folder.glob(WEIGHTS[0])):
        raise StageError(
            f"base.model {config.model!r} has no weights as safetensors (its files are "
            f"{', '.join(sorted(path.name for path in folder.iterdir()))}), and pickled ones may run code. "
            "Save it anew with save_pretrained, or name another model"
        )
    out = run.out / "model"
    out.mkdir()
    for pattern in (*CONFIGURATION, *WEIGHTS):
        for path in folder.glob(pattern):
            shutil.copyfile(path, out / path.name)
    run.phase("loading the model, to see that it is whole")
    try:
        shape = AutoConfig.from_pretrained(out, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise _unloadable(config, "model", error) from error
    kind = kind_of(shape)
    vocabulary = _write_tokenizer(config, folder, out, kind, shape.model_type)
    if not config.is_registered:
        require_unaltered("base.model", folder, run.fingerprints.get("model"))
    parameters = _checked(config, out, vocabulary, kind)
    _write_summary(run, ImportSummary(**origin, parameters=parameters))


def _write_summary(run: StageRun, summary: ImportSummary) -> None:
    summary.write(run.out)
    run.log_metrics({"parameters": summary.parameters})
    run.progress(1, 1, "model", f"{summary.parameters:,} weights")


def _from_registry(config: BaseConfig, run: StageRun) -> tuple[Path, dict[str, Any]]:
    """A folder with the version's model, adapters merged, and what the summary says of where it is from."""
    found = as_fingerprinted(run.tracking, config.model, run.fingerprints)
    run.phase(f"reading {found.label}")
    output = fetch(run.tracking, intact(run.tracking, found.model)) / OUTPUT
    if ModelSummary.read(output).classifies:
        raise StageError(
            f"base.model models:/{found.label} is a classifier, which cannot be trained to write. Name a "
            "model that was fine-tuned on instructions"
        )
    set_tags(run.tracking.client, run.run_id, {"touchstone.base.version": found.label})
    origin = {"model": f"models:/{found.label}", "revision": found.model.digest}
    origin["registered"] = {"version": found.label, "preflight": found.preflight}
    return _whole(found, output / "model", run), origin


def _whole(found: Registered, folder: Path, run: StageRun) -> Path:
    """The folder, or one with its adapters merged into the model that they were trained on."""
    if not (folder / ADAPTER).exists():
        return folder
    if found.under is None:
        raise StageError(
            f"models:/{found.label} is adapters alone, and does not say of which model. Run its profile "
            "again with lora.adapters=merged"
        )
    under = fetch(run.tracking, intact(run.tracking, found.under)) / OUTPUT / "model"
    model, tokenizer = load_model(folder, under)
    whole = run.checkpoint / "merged"
    model.save_pretrained(whole)
    tokenizer.save_pretrained(whole)
    return whole


def _found(config: BaseConfig, run: StageRun) -> tuple[Path, str | None]:
    """A folder with the model's files, and the commit that they are of where that is known."""
    if config.folder:
        return config.folder, None
    require_way_to_hub()
    run.phase(f"asking {ENDPOINT} for {config.model}")
    try:
        commit = ask_commit("model", config.model, config.revision)
        folder = snapshot_download(
            config.model,
            revision=commit,
            local_dir=run.checkpoint / "download",  # from which a killed attempt goes on
            allow_patterns=[*CONFIGURATION, *WEIGHTS, *TOKENIZER],
            token=False,  # a stored one would go to whatever HF_ENDPOINT names
        )
    except Exception as error:  # of huggingface_hub, httpx: each has its own
        raise StageError(
            f"base.model {config.model!r} ({config.revision or 'main'}) could not be downloaded from "
            f"{ENDPOINT}: {type(error).__name__}: {error}. Check its name and the network, set HF_ENDPOINT "
            "to a mirror, or put its files into a folder and name that, or into MIRROR/"
            f"{config.model} and pass --mirror; one that needs a login is not asked for"
        ) from error
    return Path(folder), commit


def _write_tokenizer(config: BaseConfig, folder: Path, out: Path, kind: ModelKind, named: str) -> int:
    """Save the tokenizer, with its end token as padding where it has none; returns how many ids it has.

    An encoder needs no end token: it does not write. Its padding is among its own special tokens, as is that
    of an encoder-decoder, whose encoder reads sources of several lengths together. `named` is what
    Transformers calls the architecture.
    """
    try:
        tokenizer = load_tokenizer(folder)
    except (OSError, ValueError) as error:
        raise _unloadable(config, "tokenizer", error) from error
    if kind != "causal" and tokenizer.pad_token_id is None:
        raise StageError(
            f"base.model {config.model!r} is an {kind} ({named}) whose tokenizer has no padding token, "
            "and texts of several lengths are read together. Save it with its own tokenizer"
        )
    if tokenizer.eos_token_id is None and kind != "encoder":
        raise StageError(f"base.model {config.model!r} has no end token, so it could not learn to stop")
    if kind == "encoder-decoder" and hasattr(tokenizer, "src_lang"):
        raise StageError(
            f"base.model {config.model!r} ({named}) marks the languages of source and target with tokens of "
            "their own, which cannot be set here. Name an encoder-decoder without them, as T5, mT5, BART, "
            "Pegasus or Marian"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(out)
    return id_count(tokenizer)


def _checked(config: BaseConfig, folder: Path, vocabulary: int, kind: ModelKind) -> int:
    """How many weights the model has that was written, once it is known to load whole.

    Of an encoder these are its backbone's; whether it has a pooler is as it was trained.
    """
    try:
        model, found = LOADERS[kind].from_pretrained(
            folder, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise _unloadable(config, "model", error) from error
    missing = sorted(key for key in found["missing_keys"] if not key.startswith(f"{POOLER}."))
    if missing:  # transformers would draw them at random
        raise StageError(f"base.model {config.model!r} lacks weights: {missing[0]}. Get an intact copy")
    known = model.get_input_embeddings().num_embeddings
    if vocabulary > known:
        raise StageError(
            f"base.model {config.model!r} knows {known} tokens, its tokenizer has {vocabulary}: the two "
            "do not belong together"
        )
    if kind == "encoder-decoder":
        _require_decoder(config, model)
    return model.num_parameters()


def _require_decoder(config: BaseConfig, model: PreTrainedModel) -> None:
    """Raise StageError where it is not known what a decoder begins with, or it writes no text."""
    starts = model.config.decoder_start_token_id
    if starts is None or not hasattr(model, "prepare_decoder_input_ids_from_labels"):
        lacks = "decoder_start_token_id" if starts is None else "a way to shift labels into decoder inputs"
        raise StageError(
            f"base.model {config.model!r} ({type(model).__name__}) has no {lacks}, so that it cannot be "
            "trained to write a target. Name T5, mT5, BART, Pegasus or another text-to-text model"
        )


def _unloadable(config: BaseConfig, what: str, error: Exception) -> StageError:
    reason = str(error).strip().splitlines()[0]
    return StageError(f"base.model {config.model!r}: its {what} cannot be loaded: {reason}")
