"""Training: recipes, data, fitting. Needs the extra `train`."""
