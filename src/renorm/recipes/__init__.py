"""Training: one loop, one file per recipe."""
