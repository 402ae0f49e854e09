"""The models: GPT-2 from scratch, those of Hugging Face, their optimizers and adapters."""
