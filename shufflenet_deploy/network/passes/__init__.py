"""Graph rewrites that preserve what a network computes."""
