"""A bench in a process of its own, to be killed: ``python bench_client.py SESSION.json``.

Ends as the command line does: 0 done, 1 stopped by an error, 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import shufflenet_deploy.bench as bench
from shufflenet_deploy import transport
from shufflenet_deploy.bench import Suite
from shufflenet_deploy.errors import DeployError
from shufflenet_deploy.journal import Journal
from shufflenet_deploy.records import Artifact
from shufflenet_deploy.target import Target
from shufflenet_deploy.transport import SshSettings


def run(session: dict[str, object], port: int) -> None:
    """Measure, or go on measuring, the suite of a session over a port of loopback."""
    artifact = Artifact.model_validate(session["artifact"])
    settings = SshSettings(
        hostname="127.0.0.1",
        port=port,
        user=str(session["user"]),
        identity_file=Path(str(session["identity"])),
        known_hosts=Path(str(session["known_hosts"])),
    )
    with (
        transport.connect(settings, name="pi") as link,
        Target(link, root=str(session["root"])) as target,
        Journal(str(session["journal"])) as book,
    ):
        suite = Suite.model_validate(session["suite"])
        for _ in bench.run(suite, target, book, lambda _: artifact, suite_id="cut"):
            pass


def main() -> int:
    """Run the session of a file; the exit status."""
    session = json.loads(Path(sys.argv[1]).read_text())
    try:
        run(session, int(sys.argv[2]))
    except DeployError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
