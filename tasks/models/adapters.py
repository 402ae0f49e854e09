"""Low-rank adapters: put on a model before training, and written alone or merged into it after."""

import shutil
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import PeftModel, TaskType, get_peft_model, prepare_model_for_kbit_training
from transformers import BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from tasks.config import TuningConfig
from tasks.errors import StageError
from tasks.models.loading import load_writer, merged, retired_names


def load_to_tune(config: TuningConfig, folder: Path, device: torch.device) -> PreTrainedModel:
    """The model in `folder`, one that writes, as it is trained: in float32, or for QLoRA in 4 bits.

    Raises StageError for 4 bits without a GPU or without bitsandbytes, and for an encoder.
    """
    if config.lora.quantize == "none":
        return load_writer(folder)
    if device.type != "cuda" or find_spec("bitsandbytes") is None:
        lacks = "bitsandbytes" if device.type == "cuda" else "a GPU"
        raise StageError(
            f"lora.quantize is 4bit, and {lacks} is missing. Install touchstone[qlora] on a machine with a "
            "CUDA device, or set lora.quantize=none"
        )
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return load_writer(folder, quantization_config=quantization, device_map={"": device})


def add_lora(
    config: TuningConfig,
    model: PreTrainedModel,
    task: TaskType = TaskType.CAUSAL_LM,
    trained_whole: Sequence[str] = (),
) -> PreTrainedModel | PeftModel:
    """The model with adapters if `config` asks for them, their weights drawn by its seed.

    Modules named in `trained_whole` get none: all of their weights are trained.

    Raises StageError when no layer of the model has a name that is to be adapted.
    """
    if config.tune != "lora":
        return model
    if config.lora.quantize == "4bit":
        model = prepare_model_for_kbit_training(
            model, use_gradient_checkpointing=config.gradient_checkpointing
        )
    lora = PeftLoraConfig(
        r=config.lora.rank,
        lora_alpha=config.lora.alpha,
        lora_dropout=config.lora.dropout,
        modules_to_save=list(trained_whole) or None,
        target_modules=list(config.lora.targets) or "all-linear",
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        task_type=task,
    )
    torch.manual_seed(config.seed)
    try:
        with retired_names():
            warnings.filterwarnings("ignore", message="fan_in_fan_out")  # of models that mix both kinds
            return get_peft_model(model, lora)
    except ValueError as error:
        raise StageError(f"lora.targets does not fit the model: {str(error).splitlines()[0]}") from error


def write_model(
    config: TuningConfig,
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    base: Path,
    folder: Path,
) -> None:
    """Write `folder` with model and tokenizer: whole, or the adapters alone where `config` keeps them.

    Adapters are merged into the float32 weights in `base`, whatever they were trained on.
    """
    if not isinstance(model, PeftModel):
        model.to("cpu").save_pretrained(folder)
    else:
        model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)  # a form to fill in
        if config.lora.adapters == "merged":
            whole = merged(load_writer(base), folder)
            shutil.rmtree(folder)
            whole.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def count_parameters(model: torch.nn.Module) -> dict[str, int]:
    """How many weights a model has, and how many of them are trained."""
    parameters = list(model.parameters())
    return {
        "parameters": sum(parameter.numel() for parameter in parameters),
        "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
    }
