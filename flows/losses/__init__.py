"""Pretrained models, compared by their losses on the same text."""
