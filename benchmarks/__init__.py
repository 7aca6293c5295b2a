"""What the documentation says in figures, measured: a folder a subject, run from the repository root.

    python -m benchmarks.search latency c32k4s2,n32,n40s2,n40
    python -m benchmarks.int8.forms

Each folder holds its results too. This file keeps the folders of another checkout, which may be on Python's path, out.
"""
