"""A model as an ordinary folder of Hugging Face: safetensors, tokenizer with its template, settings."""

import shutil
from pathlib import Path

import torch
from transformers import PreTrainedModel

from tasks.classify.tasks import task_of
from tasks.errors import StageError
from tasks.export.source import Check, ExportSource, Written, without_local_names
from tasks.models.kinds import kind_of
from tasks.models.loading import load_writer

CONFIGURATION = ("config.json", "generation_config.json")
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
PROBE = 24  # tokens
LOGITS = ("logits", "start_logits", "end_logits")


def write(source: ExportSource) -> Written:
    """Weights as they are, adapters merged. Raises StageError when the folder gives other logits."""
    run, files = source.run, source.files
    run.phase("writing the folder")
    original = _classifier(source, source.folder) if source.summary.classifies else source.load()
    if source.is_adapter:
        original.save_pretrained(files)
    else:
        for pattern in (*CONFIGURATION, *WEIGHTS):
            for path in source.folder.glob(pattern):
                shutil.copyfile(path, files / path.name)
    source.tokenizer.save_pretrained(files)
    if not source.summary.classifies:
        _write_generation_config(source, original, files)
    without_local_names(files)
    run.phase("reading the folder back")
    return Written(checks=[_same_logits(source, original, files)])


def _classifier(source: ExportSource, folder: Path) -> PreTrainedModel:
    return task_of(source.summary.task).load(folder)


def _write_generation_config(source: ExportSource, original: PreTrainedModel, files: Path) -> None:
    """How it is decoded, with every token that ends its responses."""
    settings = original.generation_config
    settings.eos_token_id = sorted(source.ends(original))
    settings.pad_token_id = source.tokenizer.pad_token_id
    settings.save_pretrained(files)


@torch.no_grad()
def _same_logits(source: ExportSource, original: PreTrainedModel, files: Path) -> Check:
    read = _classifier(source, files) if source.summary.classifies else load_writer(files)
    ids = probe_ids(original)
    if not torch.equal(probe_logits(read, ids), probe_logits(original, ids)):
        raise StageError(
            "the exported folder gives other logits than the model. Run again; report it if it stays"
        )
    return Check("Read back by Transformers", f"logits of {ids.numel()} tokens are equal to the model's")


def probe_logits(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    """Logits after the ids: (1, ...), or (2, ...) of a model that finds where an answer begins and ends.

    An encoder-decoder reads the ids as a source and as a target.
    """
    beside = {"decoder_input_ids": ids} if kind_of(model.config) == "encoder-decoder" else {}
    output = model.eval()(ids, **beside)
    return torch.stack([output[name] for name in LOGITS if name in output])


def probe_ids(model: PreTrainedModel) -> torch.Tensor:
    """Token ids (1, time), spread over the whole vocabulary, to compare logits on."""
    size = model.get_input_embeddings().num_embeddings
    return torch.linspace(0, size - 1, min(PROBE, size)).long()[None]
