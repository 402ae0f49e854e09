"""Asking judges: who they are, what they answered before, how many at once."""
