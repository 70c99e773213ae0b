"""onnxruntime with its XNNPACK provider, of a build that has it; PyPI's wheels have not."""

from ..failures import Failed
from ..xnnpack_provider import PROVIDER, lack
from .onnxruntime import OnnxRuntime


class OnnxRuntimeXnnpack(OnnxRuntime):
    """The provider has threads of its own; those of onnxruntime would only compete with them."""

    name = "onnxruntime-xnnpack"
    settings = (
        ("session.intra_op.allow_spinning", "0"),
        ("session.record_ep_graph_assignment_info", "1"),
    )

    def _providers(self, onnxruntime, threads):
        lacking = lack(onnxruntime)
        if lacking:
            raise Failed("runtime-missing", lacking)
        return [(PROVIDER, {"intra_op_num_threads": str(threads)}), "CPUExecutionProvider"]

    def delegation(self):
        """Which nodes of the optimised graph the provider has."""
        try:
            parts = self._session.get_provider_graph_assignment_info()
        except AttributeError:  # before 1.24
            return None
        return delegation(
            [(one.ep_name, [node.op_type for node in one.get_nodes()]) for one in parts]
        )


def delegation(parts):
    """Count nodes by provider; ``parts`` are (provider, types of its nodes)."""
    taken, left = 0, {}
    for provider, kinds in parts:
        if provider == PROVIDER:
            taken += len(kinds)
        else:
            for kind in kinds:
                left[kind] = left.get(kind, 0) + 1
    mine = sum(provider == PROVIDER for provider, _ in parts)
    return {"name": "XNNPACK", "parts": mine, "taken": taken, "left": left}


ENGINE = OnnxRuntimeXnnpack
