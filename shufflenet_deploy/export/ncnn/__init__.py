"""The ncnn format: ncnn's weights, and behind them in the same file the text of its layers."""
