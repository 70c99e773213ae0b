"""Calibrated ranges, and rewrites that make a network easier to quantize."""
