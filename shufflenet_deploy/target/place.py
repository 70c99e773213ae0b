"""Can our folder be written on a target, may programs be started there, and where else could it be?

Asked of the mount table and of the kernel's ``access``; nothing is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from shufflenet_deploy.target.facts import sections_of

# Parameter: our folder. Prints the folder that exists, as the kernel names it, and whether it can
# be written; then other folders that can.
SCRIPT = """\
section() { printf '\\n== %s\\n' "$1"; }
where() { (cd -P "$1" 2>/dev/null && pwd -P); }
folder=$1
while [ ! -d "$folder" ]; do
    case $folder in ?*/*) folder=${folder%/*} ;; *) folder=/ ;; esac
done
section folder; where "$folder"
section writable; [ -w "$folder" ] && [ -x "$folder" ] && echo yes
section others
for other in /var/tmp /data/local/tmp /opt /srv /mnt /tmp /dev/shm; do
    [ -d "$other" ] && [ -w "$other" ] && where "$other"
done
section mounts; cat /proc/mounts 2>/dev/null
exit 0
"""

_OWN = "shufflenet-deploy"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Location of the tool's folder on a target.

    ``folder`` is the nearest that exists, ``noexec`` whether its file system starts no programs.
    ``alternative`` is a folder that can be made elsewhere and has neither fault, if there is one.
    """

    folder: str
    writable: bool
    noexec: bool
    alternative: str | None = None

    @property
    def remedy(self) -> str:
        """Advice on the setting to change; a command line may follow."""
        return f"SHUFFLENET_DEPLOY_ROOT={self.alternative or '/folder/on/another/disk'}"


def read_place(printed: str) -> Place:
    """Read what ``SCRIPT`` printed. Pure: a captured text can be replayed."""
    sections = sections_of(printed)
    mounts = dict(_mounts(sections.get("mounts", "")))
    folder = sections.get("folder", "").strip() or "/"
    others = [line for line in sections.get("others", "").splitlines() if line.startswith("/")]
    fitting = [one for one in others if not _noexec(one, mounts)]
    return Place(
        folder=folder,
        writable=sections.get("writable", "").strip() == "yes",
        noexec=_noexec(folder, mounts),
        alternative=f"{fitting[0].rstrip('/')}/{_OWN}" if fitting else None,
    )


def _mounts(text: str) -> Iterator[tuple[str, frozenset[str]]]:
    """Mount points and their options; a later line covers an earlier one of the same folder."""
    for line in text.splitlines():
        fields = line.split(" ")
        if len(fields) >= 4:
            yield _unescaped(fields[1]), frozenset(fields[3].split(","))


def _unescaped(path: str) -> str:
    r"""``/mnt/my disk`` of ``/mnt/my\040disk``."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def _noexec(folder: str, mounts: dict[str, frozenset[str]]) -> bool:
    holding = [
        point
        for point in mounts
        if point == "/" or f"{folder}/".startswith(f"{point.rstrip('/')}/")
    ]
    return "noexec" in mounts[max(holding, key=len)] if holding else False
