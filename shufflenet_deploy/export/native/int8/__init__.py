"""Native programs in int8: whole-number steps, their reference in numpy, and C for each core."""
