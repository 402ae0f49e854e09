"""What training is fed: blocks of tokens, instruction rows, preference pairs, labelled texts."""
