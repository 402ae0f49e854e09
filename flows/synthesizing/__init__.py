"""Rows that a language model makes: in a pipeline, or by themselves."""
