"""Serving a model to programs, until Ctrl-C."""
