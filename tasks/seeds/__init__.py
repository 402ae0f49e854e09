"""What several trainings of one recipe show of it."""
