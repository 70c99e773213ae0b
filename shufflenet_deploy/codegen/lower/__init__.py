"""Lowering: layers of a graph become ops on buffers."""
