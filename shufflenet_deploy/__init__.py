"""Deploy ShuffleNet to ARM boards and measure the paper's speedup on them.

The public face of the package is the ``shufflenet-deploy`` command; see ``docs/architecture.md``
for the layers behind it.
"""

__version__ = "0.1.0"
