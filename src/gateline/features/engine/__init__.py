"""Computing features over tables: point-in-time joins, windows, fitted transforms, and the slow reference they are tested against."""
