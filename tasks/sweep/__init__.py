"""What trials of a recipe's settings show: which is best by validation, and how far that flatters it."""
