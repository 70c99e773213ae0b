"""Analysis of stored runs: profiles by layer, rankings over time. Pure functions."""
