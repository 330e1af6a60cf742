"""Training: one loop, and the recipe of classification."""
