"""View versions and definitions as they are stored and read back."""
