"""The native format: generated C compiled to one static executable per kind of core.

``codegen`` writes and compiles the C; this package runs the result for validation, as a shared
library in this process or as an executable under an emulator.
"""
