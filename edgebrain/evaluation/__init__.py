"""How good a model is on labelled scans: every figure with its interval."""
