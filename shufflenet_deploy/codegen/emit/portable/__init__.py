"""Emitters of int8 kernels as plain C loops, for any CPU."""
