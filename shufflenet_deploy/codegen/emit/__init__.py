"""Emitters: C and assembly for every op, per instruction set."""
