"""What shows that features are right: no future in them, and the same value online and offline."""
