"""Taking a model elsewhere: files that other engines read, checked by reading them back."""
