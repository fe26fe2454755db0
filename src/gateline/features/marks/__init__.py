"""Which features carry personal or protected data, and who declared that one does not."""
