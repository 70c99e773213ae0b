"""LiteRT with the interpreter's own kernels in place of XNNPACK's."""

from .litert import LiteRt


class LiteRtNoXnnpack(LiteRt):
    """LiteRT as it is where an application switches its default delegate off."""

    name = "litert-no-xnnpack"

    def _interpreter(self, path, threads):
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        return Interpreter(
            model_path=path, num_threads=threads, experimental_op_resolver_type=plain
        )

    def delegation(self):
        """None: there is no delegate."""


ENGINE = LiteRtNoXnnpack
