"""Pretraining: the one training loop we own."""
