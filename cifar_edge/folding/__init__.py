"""Norms out, biases in: each GroupNorm replaced by an affine that fits its output, and merged into a convolution."""
