"""A ladder of sizes, pretrained alike: how loss falls with size."""
