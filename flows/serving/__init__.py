"""A model in the terminal, and behind OpenAI's protocol, until Ctrl-C."""
