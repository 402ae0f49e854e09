"""Training a model that classifies: what each task asks, how it is measured, and what is shown of it."""
