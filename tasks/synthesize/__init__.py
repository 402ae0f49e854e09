"""Rows that a language model makes from passages of a corpus or from given rows, and what becomes of each."""
