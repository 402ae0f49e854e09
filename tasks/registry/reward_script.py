"""What MLflow runs for a reward model: a script of its own, which needs Transformers alone.

MLflow keeps a copy of this file beside the model, and runs that where the model is loaded.
"""

import mlflow
import pandas as pd
import torch
from mlflow.pyfunc import PythonModel, PythonModelContext
from transformers import AutoModelForSequenceClassification, AutoTokenizer

AT_ONCE = 16  # texts


class Rewards(PythonModel):
    """Takes conversations as the tokenizer's chat template writes them, and gives what each is worth.

    A text ends with the response and its end token; no token is put before or behind it.
    """

    def load_context(self, context: PythonModelContext) -> None:
        folder = context.artifacts["model"]
        self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self.model = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        ).eval()

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002
        model_input: pd.DataFrame,
        params: dict | None = None,  # noqa: ARG002
    ) -> pd.DataFrame:
        texts = [str(text) for text in model_input.iloc[:, 0]]
        rewards = [
            reward
            for start in range(0, len(texts), AT_ONCE)
            for reward in self._rewards(texts[start : start + AT_ONCE])
        ]
        return pd.DataFrame({"reward": rewards})

    @torch.no_grad()
    def _rewards(self, texts: list[str]) -> list[float]:
        batch = self.tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")
        read = {name: batch[name] for name in ("input_ids", "attention_mask")}
        return self.model(**read).logits[:, 0].double().tolist()


mlflow.models.set_model(Rewards())
