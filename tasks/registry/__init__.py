"""Registered models: versions, champions, where they come from, and promotion."""
