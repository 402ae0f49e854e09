"""The `touchstone` command: one module for each subject."""
