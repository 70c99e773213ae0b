"""A folder with an inventory of loopback servers, and the command line in it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager

from shufflenet_deploy.journal import Journal


class Lab:
    """The lab; ``journal`` is a path or a URL."""

    def __init__(self, folder, artifacts, journal=None):
        self.folder, self.artifacts = folder, artifacts
        self.journal = journal or folder / "journal.sqlite"

    def write(self, **servers):
        """Name servers in the inventory, each with a folder of its own there; all are @lab."""
        lines = []
        for name, server in servers.items():
            alias = self.folder / f"{name}.conf"
            alias.write_text(server.config.read_text().replace("Host pi\n", f"Host ssh-{name}\n"))
            lines += [f"[hosts.{name}]", f'address = "ssh-{name}"', 'tags = ["lab"]']
            lines += [f'folder = "{self.folder / name}"']
        (self.folder / "hosts.toml").write_text("\n".join(lines) + "\n")
        config = "".join(f"Include {self.folder / name}.conf\n" for name in servers)
        (self.folder / "ssh_config").write_text(config)

    @property
    def environment(self):
        return {
            **os.environ,
            "SHUFFLENET_DEPLOY_SSH_CONFIG": str(self.folder / "ssh_config"),
            "SHUFFLENET_DEPLOY_STATE": str(self.folder / "state"),
            "SHUFFLENET_DEPLOY_HOSTS": str(self.folder / "nobody"),
            "COLUMNS": "160",
        }

    def argv(self, *words):
        places = ("--artifacts", str(self.artifacts), "--journal", str(self.journal))
        return [sys.executable, "-m", "shufflenet_deploy", "bench", *words, *places]

    def run(self, *words):
        return subprocess.run(
            self.argv(*words),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )

    @contextmanager
    def measuring(self, *words):
        """A bench that has measured on both servers, and goes on."""
        process = subprocess.Popen(
            self.argv(*words),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        seen, lines = set(), []
        try:
            while len(seen) < 2 and (line := process.stderr.readline()):
                lines.append(line)
                if ": [" in line:
                    seen.add(line.partition(":")[0])
            assert len(seen) == 2, lines
            yield process
        finally:
            process.kill()
            process.communicate()

    def runs(self):
        with Journal(self.journal) as book:
            return book.runs()
