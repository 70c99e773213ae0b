"""Emitters for SSE2, AVX2 and AVX-512."""
