"""The native format: generated C compiled to one static executable per kind of core.

``codegen`` writes and compiles the C; this package runs the result for validation, as a shared
library in this process or as an executable under an emulator.
"""

from shufflenet_deploy.export.native.executable import NativeExecutable
from shufflenet_deploy.export.native.host_check import compare_with_module, logits_on_host
from shufflenet_deploy.export.native.shared_library import SharedLibrary

__all__ = ["NativeExecutable", "SharedLibrary", "compare_with_module", "logits_on_host"]
