"""The models: GPT-2 from scratch, those of Hugging Face, their optimizers and adapters."""

MODELS = {"base": "base", "tuned": "fine-tuned", "preferred": "preferred", "reinforced": "reinforced"}
"""What the stages' inputs call a model that writes, and what people do, in the order of training."""

TRAININGS = {"tuned": "finetune", "preferred": "dpo", "reinforced": "grpo"}
"""The stage that makes each of them but the base, of the model before it in the profile."""

STARTS_FROM = {stage: "base" if stage == "finetune" else "tuned" for stage in TRAININGS.values()}
"""What such a stage calls the model that it starts from, whichever that is."""

CLASSIFIER = "classifier"  # what both call one that gives labels
