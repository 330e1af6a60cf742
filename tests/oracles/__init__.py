"""Slow float64 loops that share no code with the library."""
