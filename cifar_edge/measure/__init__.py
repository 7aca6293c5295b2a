"""How fast and how accurate models are, and the processor that the figures are from."""
