"""Emitters for NEON: fp32 and fp16 assembly, int8 intrinsics."""
