"""Few-shot adaptation of a bundle's head on the device: numpy only, seconds on a CPU."""
