"""A classifier of several labels, as MLflow loads it: a text in, its labels and all probabilities out."""

import mlflow
import pandas as pd
import torch
from mlflow.pyfunc import PythonModel, PythonModelContext
from transformers import AutoModelForSequenceClassification, AutoTokenizer

THRESHOLD = 0.5


class Labels(PythonModel):
    def load_context(self, context: PythonModelContext) -> None:
        folder = context.artifacts["model"]
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002
        model_input: pd.DataFrame,
        params: dict | None = None,  # noqa: ARG002
    ) -> list[dict]:
        names = self.model.config.id2label
        answers = []
        for row in model_input.to_dict("records"):
            inputs = self.tokenizer(row["text"], row.get("text_pair"), truncation=True, return_tensors="pt")
            with torch.no_grad():
                shares = self.model(**inputs).logits[0].double().sigmoid().tolist()
            probabilities = [{"label": names[place], "probability": one} for place, one in enumerate(shares)]
            given = [one["label"] for one in probabilities if one["probability"] >= THRESHOLD]
            answers.append({"labels": given, "probabilities": probabilities})
        return answers


mlflow.models.set_model(Labels())
