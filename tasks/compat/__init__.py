"""What depends on how a library is made inside, each with a test that fails when the library changes."""
