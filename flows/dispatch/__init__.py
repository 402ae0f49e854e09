"""How a stage is run: found, made here, or sent to its work pool."""
