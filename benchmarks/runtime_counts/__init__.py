"""Instructions of an inference in every runtime, over twelve networks: ``-m runtime_counts``."""
