"""What old runs and caches hold, and removing what nothing that stays was made from."""
