"""The download stage: files by HTTP, datasets of the hub, rows that are made here."""
