"""Reinforcement: the fine-tuned model learns from rewards of what it writes."""
