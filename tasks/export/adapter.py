"""The LoRA weights alone, as PEFT reads them."""

import shutil

import torch
from safetensors.torch import load_file

from tasks.errors import StageError
from tasks.export.folder import probe_ids, probe_logits
from tasks.export.source import Check, ExportSource, Written
from tasks.machine.json_files import read_json, write_json
from tasks.models.loading import ADAPTER, load_writer, merged

WEIGHTS = "adapter_model.safetensors"


def write(source: ExportSource) -> Written:
    """Weights and settings of the adapters, and the tokenizer with the template that they were trained in.

    Raises StageError for a model that keeps none, and when they change nothing.
    """
    if not source.is_adapter:
        raise StageError(
            "the model keeps no adapters: it was trained whole, or they were merged into it. Train with "
            "finetune.tune=lora and finetune.lora.adapters=kept, or export it as a folder"
        )
    base, files = source.require_base(), source.files
    shutil.copyfile(source.folder / WEIGHTS, files / WEIGHTS)
    settings = read_json(source.folder / ADAPTER)
    settings["base_model_name_or_path"] = source.base_model  # a folder of this machine says nothing elsewhere
    write_json(files / ADAPTER, settings)
    source.tokenizer.save_pretrained(files)
    source.run.phase("putting the adapters on their base, to see that they are whole")
    written = Written(checks=[_applied(source, base)])
    if source.base_model is None:
        written.notes.append(
            "The adapters fit only the model that they were trained on, which was trained or imported here: "
            "export that as a folder too."
        )
    return written


@torch.no_grad()
def _applied(source: ExportSource, base: object) -> Check:
    original, plain = source.load(), load_writer(base).eval()
    ids = probe_ids(original)
    before = probe_logits(plain, ids)
    found = probe_logits(merged(plain, source.files), ids)
    if not torch.equal(found, probe_logits(original, ids)):
        raise StageError("the exported adapters give other logits on their base than the model. Run again")
    weights = sum(tensor.numel() for tensor in load_file(source.files / WEIGHTS).values())
    moved = (found - before).abs().max().item()
    return Check(
        "Put on their base by PEFT",
        f"{weights:,} weights; logits are the model's, and up to {moved:.3g} from the base's",
    )
