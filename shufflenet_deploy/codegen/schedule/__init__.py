"""Scheduling decisions: register blocking, tiling, memory planning, work split."""
