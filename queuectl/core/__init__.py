"""Values and rules. No input or output, no clock, no randomness: `now` and `rng` are arguments."""
