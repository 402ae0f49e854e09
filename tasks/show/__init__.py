"""What reports are made of: text, blocks of markdown, styles of the terminal, curves."""
