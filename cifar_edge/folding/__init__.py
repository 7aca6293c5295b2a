"""Norm folding: each GroupNorm is replaced by an affine fitted to its output, which is merged into the convolution."""
