"""Write a network as ONNX: fp32 by the exporter of PyTorch, int8 in the layout of onnxruntime."""
