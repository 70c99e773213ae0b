"""Deploy ShuffleNet to ARM boards and measure the paper's speedup on them.

The public face of the package is the ``shufflenet-deploy`` command; see ``docs/architecture.md``
for the layers behind it.
"""

import os

# Read when onnxruntime is imported: names and hashes of the user's models are nobody else's.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
