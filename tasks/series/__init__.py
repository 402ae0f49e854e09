"""What a ladder of sizes shows: how loss falls with size, and whether that foretells the largest."""
