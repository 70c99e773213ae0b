"""Write a network as TFLite: lowering to its operators, int8 quantization, FlatBuffers."""
