"""Export to ExecuTorch's programs, lowered to XNNPACK."""
