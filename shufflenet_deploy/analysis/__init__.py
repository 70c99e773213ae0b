"""Profiles by layer and rankings over time, worked out from stored runs: pure functions."""
