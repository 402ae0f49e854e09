"""Asking servers of language models: one request and its reply, when to try again, OpenAI's protocol."""
