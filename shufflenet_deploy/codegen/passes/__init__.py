"""Rewrites of the graph and of the lowered program, one module each."""
