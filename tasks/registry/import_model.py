"""Taking over a model, of Hugging Face or of the registry: weights in safetensors, a tokenizer, no code."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from huggingface_hub import snapshot_download
from huggingface_hub.constants import ENDPOINT
from safetensors import SafetensorError
from transformers import AutoModel, AutoModelForCausalLM

from tasks.config import BaseConfig
from tasks.data.token_files import id_count
from tasks.download.commits import ask_commit
from tasks.errors import StageError
from tasks.machine.json_files import JsonFile
from tasks.machine.proxies import require_way_to_hub
from tasks.models.classifier import POOLER
from tasks.models.encoders import encoder_kind
from tasks.models.loading import ADAPTER, load_model, load_tokenizer
from tasks.models.summary import SUMMARY, ModelSummary
from tasks.record.manifest import require_unaltered
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.stage import StageRun
from tasks.record.tracking import set_tags
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


@dataclass(frozen=True, kw_only=True)
class ImportSummary(JsonFile):
    """Of a model that was trained elsewhere, or is a registered version."""

    FILE: ClassVar[str] = SUMMARY

    model: str
    revision: str | None
    """The commit of Hugging Face, or the digest of the registered model; None of a folder."""
    registered: dict[str, str] | None = None
    """The `version` in the registry, and its `preflight`."""
    parameters: int


def base(config: BaseConfig, run: StageRun) -> None:
    """Write `model/`, weights as they are and the tokenizer with a padding token, and `summary.json`.

    The mirror is looked in first. A registered model's summary says which version it was. Raises StageError
    for a model that cannot be had or loaded, that has no safetensors, or fewer embeddings than its tokenizer
    has tokens, for a causal model without an end token, an encoder without a padding token, and a registered
    model that is a classifier.
    """
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
        encoder = encoder_kind(out)
    except (OSError, ValueError) as error:
        raise _unloadable(config, "model", error) from error
    vocabulary = _write_tokenizer(config, folder, out, encoder)
    if not config.is_registered:
        require_unaltered("base.model", folder, run.fingerprints.get("model"))
    parameters = _checked(config, out, vocabulary, AutoModel if encoder else AutoModelForCausalLM)
    ImportSummary(**origin, parameters=parameters).write(run.out)
    run.log_metrics({"parameters": parameters})
    run.progress(1, 1, "model", f"{parameters:,} weights")


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


def _write_tokenizer(config: BaseConfig, folder: Path, out: Path, encoder: str | None) -> int:
    """Save the tokenizer, with its end token as padding where it has none; returns how many ids it has.

    An encoder needs no end token: it does not write. Its padding is among its own special tokens.
    """
    try:
        tokenizer = load_tokenizer(folder)
    except (OSError, ValueError) as error:
        raise _unloadable(config, "tokenizer", error) from error
    if encoder and tokenizer.pad_token_id is None:
        raise StageError(
            f"base.model {config.model!r} is an encoder ({encoder}) whose tokenizer has no padding token, "
            "and texts of several lengths are read together. Save it with its own tokenizer"
        )
    if tokenizer.eos_token_id is None and not encoder:
        raise StageError(f"base.model {config.model!r} has no end token, so it could not learn to stop")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(out)
    return id_count(tokenizer)


def _checked(config: BaseConfig, folder: Path, vocabulary: int, kind: type[AutoModel]) -> int:
    """How many weights the model has that was written, once it is known to load whole.

    Of an encoder these are its backbone's; whether it has a pooler is as it was trained.
    """
    try:
        model, found = kind.from_pretrained(
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
    return model.num_parameters()


def _unloadable(config: BaseConfig, what: str, error: Exception) -> StageError:
    reason = str(error).strip().splitlines()[0]
    return StageError(f"base.model {config.model!r}: its {what} cannot be loaded: {reason}")
