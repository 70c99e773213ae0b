"""The MNN format: files of MNN's own converter and quantiser."""
