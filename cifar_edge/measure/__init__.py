"""Measures speed, memory and accuracy of models, and identifies the processor."""
