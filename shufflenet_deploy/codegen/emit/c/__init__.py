"""Emitters of fp32 and fp16 C with GNU vector extensions, for any instruction set."""
