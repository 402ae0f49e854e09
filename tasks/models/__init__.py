"""The models: GPT-2 from scratch, those of Hugging Face, their optimizers and adapters."""

MODELS = {"base": "base", "tuned": "fine-tuned", "preferred": "preferred"}
"""What the stages' inputs call a model that writes, and what people do, in the order of training."""

CLASSIFIER = "classifier"  # what both call one that gives labels
