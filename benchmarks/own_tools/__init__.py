"""Our figures beside those of each runtime's own tool: ``python -m own_tools``."""
