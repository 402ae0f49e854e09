"""Text as it comes: reading files, near duplicates, token files."""
