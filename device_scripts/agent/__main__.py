"""``python3 agent.pyz``, or ``python3 -m agent`` beside the sources."""

import sys

from agent import main

if __name__ == "__main__":
    main(sys.argv[1:])
