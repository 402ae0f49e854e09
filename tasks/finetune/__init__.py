"""Fine-tuning: a base model and instruction rows in, a model that follows instructions out."""
