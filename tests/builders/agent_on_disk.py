"""The agent's one file on disk, for tests that start it, and its package as imported from there."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from shufflenet_deploy.runtime.agent_file import write_agent

#: Removed when the process ends.
_FOLDER = TemporaryDirectory(prefix="agent-")
AGENT = write_agent(Path(_FOLDER.name))

sys.path.append(str(AGENT))

import agent  # noqa: E402

__all__ = ["AGENT", "agent"]
