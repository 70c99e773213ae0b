"""The runtimes there are: one file each, with a ``RUNTIME`` in it; ``runtime.get`` finds them.

A file is called as its runtime is, with an underscore for a hyphen.
"""
