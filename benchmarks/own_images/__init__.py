"""Training on own images: what its parts cost, and what its defaults reach."""
