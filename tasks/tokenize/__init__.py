"""The tokenize stage, the tokenizers, and the templates of instructions."""
