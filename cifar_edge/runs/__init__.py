"""Runs on disk, and which model a name means."""
