"""Read an exported file of any format: operators, tensors, sizes, provenance."""
