"""A network: its graph, the frontends that read it, rewrites, an interpreter, quantization."""
