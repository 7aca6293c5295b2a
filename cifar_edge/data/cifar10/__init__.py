"""CIFAR-10: fetched, verified against known checksums, and read from every format that it comes in."""
