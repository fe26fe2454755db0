"""What people declare, and the closed intermediate form it compiles to. Nothing here reads data."""
