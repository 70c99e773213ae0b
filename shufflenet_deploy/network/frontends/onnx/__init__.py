"""Front end for ONNX files: ``read_onnx(path, resolution=...) -> Graph``."""

from shufflenet_deploy.network.frontends.onnx.reader import read_onnx

__all__ = ["read_onnx"]
