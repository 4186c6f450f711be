"""Where commands run: the interface that a slot needs (engine.py), and one module for each engine that gives it."""
