"""Reward models: what they learn from, their training with its checks, and how good one is."""
