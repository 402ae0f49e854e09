"""This process: its console, signals, streams, secrets and intervals."""
