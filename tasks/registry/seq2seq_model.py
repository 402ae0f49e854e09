"""What MLflow runs for an encoder-decoder: a script of its own, which needs Transformers alone.

MLflow keeps a copy of this file beside the model, and runs that where the model is loaded. Transformers has
no pipeline for such models any more.
"""

from typing import Any

import mlflow
import pandas as pd
import torch
from mlflow.pyfunc import PythonModel, PythonModelContext
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig

AT_ONCE = 16  # texts
MODEL = "model"  # what the folder with weights and tokenizer is called among the artifacts
KEPT = ("decoder_start_token_id", "eos_token_id", "pad_token_id", "forced_bos_token_id")
"""Of a model's own settings for generation."""


class SourceToTarget(PythonModel):
    """Takes sources, as a list of texts or a table's one column, and gives the target of each."""

    def load_context(self, context: PythonModelContext) -> None:
        folder = context.artifacts[MODEL]
        self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self.model = AutoModelForSeq2SeqLM.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        ).eval()
        own = self.model.generation_config  # lengths, penalties and beams are of whoever trained the base
        self.model.generation_config = GenerationConfig(**{name: getattr(own, name) for name in KEPT})

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[str]:
        """`params` are of `generate`: max_new_tokens, num_beams."""
        del context
        sources = [str(text) for text in model_input.iloc[:, 0]]
        return [
            target
            for start in range(0, len(sources), AT_ONCE)
            for target in self._targets(sources[start : start + AT_ONCE], params or {})
        ]

    @torch.no_grad()
    def _targets(self, sources: list[str], params: dict[str, Any]) -> list[str]:
        asked = [self._asked(source) for source in sources]
        batch = self.tokenizer(asked, add_special_tokens=True, padding=True, return_tensors="pt")
        ids = self.model.generate(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], do_sample=False, **params
        )
        return [text.strip() for text in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]

    def _asked(self, source: str) -> str:
        """The source in the template that the model was trained in, which its tokenizer carries."""
        turns = [{"role": "user", "content": source}]
        text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        begin = self.tokenizer.bos_token
        return text.removeprefix(begin) if begin else text  # which the tokenizer puts there itself


mlflow.models.set_model(SourceToTarget())
