"""The checks of a whole profile, as a stage of their own."""
