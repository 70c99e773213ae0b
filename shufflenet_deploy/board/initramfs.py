"""The board's disk: a kernel and a root file system in memory, from Debian packages in seconds.

Nothing is emulated, installed or mounted while building and no root is needed: the members of the
packages go straight from their archives into an initramfs. An image is known by the packages,
versions and init script that went into it, and built only when that answer is new.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from shufflenet_deploy.atomic_files import write_whole
from shufflenet_deploy.board import cpio
from shufflenet_deploy.board.cpio import CpioTree
from shufflenet_deploy.board.lock import exclusive
from shufflenet_deploy.debian_packages import SUITE, Apt, Package, members
from shufflenet_deploy.errors import BoardError
from shufflenet_deploy.records import Record

ARCHITECTURE = "arm64"
#: Packages of the board: a shell, sshd, Python, and the libraries that the runtimes link to.
PACKAGES = (
    "busybox-static",
    "libgcc-s1",
    "libgomp1",
    "libstdc++6",
    "openssh-server",
    "openssh-sftp-server",
    "python3",
)
#: Debian's kernel for virtual machines: a third of the size of the one for all hardware.
KERNEL = f"linux-image-cloud-{ARCHITECTURE}"
#: Drivers that are modules in that kernel; what they depend on is read from themselves.
MODULES = ("virtio_pci", "virtio_net", "virtio-rng", "virtio_blk")

# Dependencies that only matter while installing, or to accounts that this board has not.
_UNUSED_PACKAGES = re.compile(
    r"perl.*|lib.*-perl|libperl.*|adduser|debconf|dpkg|init-system-helpers|"
    r"libdb5\.3|libpam-modules.*|libpam-runtime|libsemanage.*|libsepol.*|passwd|procps|libproc2.*|"
    r"runit-helper|sensible-utils|sysvinit-utils|tar|ucf|usrmerge|lsb-base"
)
_UNUSED_FILES = re.compile(
    r"usr/share/(doc|man|locale|info|lintian|bash-completion|perl5?|pixmaps|bug|python3/.*\.py)/|"
    r"usr/lib/systemd/|usr/lib/[^/]+/(gconv|perl)/|"
    r"etc/(init\.d|pam\.d|cron\.[a-z]+)/|usr/lib/python3\.\d+/(idlelib|lib2to3|pydoc_data|test)/"
)
_MERGED_INTO_USR = ("bin", "sbin", "lib")
_KEPT_IMAGES = 2

_ACCOUNTS = """\
root:*:0:0:root:/root:/bin/sh
sshd:*:101:65534::/run/sshd:/bin/false
"""
_SSHD_CONFIG = """\
# Keys only, and only the one made for this board.
Port 22
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile /etc/ssh/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
UseDNS no
PrintMotd no
MaxStartups 64
MaxSessions 64
LoginGraceTime 300
Subsystem sftp /usr/lib/openssh/sftp-server
# The same work must be the same instructions in every process.
SetEnv PYTHONHASHSEED=0
"""


class ImageInfo(Record):
    """Ingredients of an image. ``id`` is the hash of all of them."""

    id: str
    recipe: str
    kernel: str
    packages: dict[str, str]


class Image(Record):
    """A built image: files that QEMU boots."""

    info: ImageInfo
    kernel: Path
    initrd: Path


def image(cache: Path, *, refresh: bool, on_stage: Callable[[str], None]) -> Image:
    """The newest image of today's recipe in ``cache``; built when there is none.

    ``refresh`` asks Debian's mirror whether packages have changed since.

    Raises:
        ArchiveError: a tool is missing, the mirror cannot be reached, or a package is broken.
        BoardError: the packages do not make a board.
    """
    recipe = _recipe()
    with exclusive(cache / ".lock", on_wait=lambda: on_stage("waiting for another build")):
        if not refresh and (found := _newest(cache, recipe)) is not None:
            return found
        return _build(cache, recipe, on_stage)


def newest_image(cache: Path) -> ImageInfo | None:
    """Return the existing image that ``image`` would return; None when it would build one."""
    found = _newest(cache, _recipe())
    return None if found is None else found.info


def known_image(cache: Path, image_id: str) -> ImageInfo | None:
    """The image of this id; None when it is not kept any more."""
    found = _read(cache / image_id)
    return None if found is None else found.info


def _build(cache: Path, recipe: str, on_stage: Callable[[str], None]) -> Image:
    with tempfile.TemporaryDirectory(dir=cache, prefix=".building-") as name:
        folder = Path(name)
        on_stage(f"reading the package index of Debian {SUITE}")
        apt = Apt(folder, ARCHITECTURE)
        apt.update()
        packages = _wanted(apt)
        info = ImageInfo(
            id=_content_id(recipe, packages),
            recipe=recipe,
            kernel=next(p.version for p in packages if p.name.startswith("linux-image-")),
            packages={package.name: package.version for package in packages},
        )
        if (ready := _read(cache / info.id)) is not None:
            return ready
        size_mb = sum(package.size_bytes for package in packages) / 1e6
        on_stage(f"fetching {len(packages)} packages ({size_mb:.0f} MB)")
        debs = apt.fetch(packages)
        on_stage("writing the image")
        _write(folder / "image", info, debs)
        shutil.rmtree(cache / info.id, ignore_errors=True)
        (folder / "image").rename(cache / info.id)
    _prune(cache, keep=info.id)
    built = _read(cache / info.id)
    assert built is not None
    return built


def _recipe() -> str:
    digest = hashlib.sha256()
    here = Path(__file__)
    for source in (here, Path(cpio.__file__), here.with_name("init.sh")):
        digest.update(source.read_bytes())
    digest.update(f"{SUITE} {ARCHITECTURE}".encode())
    return digest.hexdigest()


def _content_id(recipe: str, packages: list[Package]) -> str:
    digest = hashlib.sha256(recipe.encode())
    for package in packages:
        digest.update(f"{package.file} {package.digest}\n".encode())
    return digest.hexdigest()[:16]


def _wanted(apt: Apt) -> list[Package]:
    kernels = [name for name in apt.depends(KERNEL) if name.startswith("linux-image-")]
    if not kernels:
        raise BoardError(f"Debian {SUITE} no longer has {KERNEL}; report this as a bug")
    # The kernel's own dependencies are tools for installing it.
    kernel = [package for package in apt.resolve(kernels[:1]) if package.name == kernels[0]]
    needed = [p for p in apt.resolve(PACKAGES) if not _UNUSED_PACKAGES.fullmatch(p.name)]
    return sorted(kernel + needed)


def _newest(cache: Path, recipe: str) -> Image | None:
    images = [found for path in _folders(cache) if (found := _read(path)) is not None]
    matching = [found for found in images if found.info.recipe == recipe]
    return max(matching, key=lambda found: found.initrd.stat().st_mtime, default=None)


def _folders(cache: Path) -> list[Path]:
    return [p for p in cache.glob("*") if p.is_dir() and not p.name.startswith(".")]


def _read(folder: Path) -> Image | None:
    kernel, initrd = folder / "vmlinuz", folder / "initrd"
    try:
        info = ImageInfo.model_validate_json((folder / "image.json").read_bytes())
    except (OSError, ValidationError):
        return None
    if not (kernel.is_file() and initrd.is_file()):
        return None
    return Image(info=info, kernel=kernel, initrd=initrd)


def _prune(cache: Path, *, keep: str) -> None:
    """Drop all but the newest images; a running board has read its own into memory."""
    others = [path for path in _folders(cache) if path.name != keep]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in others[_KEPT_IMAGES - 1 :]:
        shutil.rmtree(path, ignore_errors=True)


def _write(folder: Path, info: ImageInfo, debs: list[Path]) -> None:
    folder.mkdir()
    tree, boot = CpioTree(), CpioTree()
    for name in _MERGED_INTO_USR:
        tree.link(name, f"usr/{name}")
    for deb in debs:
        _unpack(deb, boot if deb.name.startswith("linux-image-") else tree)
    (folder / "vmlinuz").write_bytes(_only(boot, r"boot/vmlinuz-.*"))
    _add_modules(tree, boot)
    _add_settings(tree)
    # Not compressed: to unpack it under emulation would take a quarter of every start.
    with (folder / "initrd").open("wb") as stream:
        stream.writelines(tree.archive())
    write_whole(folder / "image.json", info.model_dump_json(indent=2) + "\n")


def _unpack(deb: Path, tree: CpioTree) -> None:
    for member, content in members(deb):
        path = member.name.removeprefix("./").rstrip("/")
        if path.split("/")[0] in _MERGED_INTO_USR:
            path = f"usr/{path}"
        if path in {"", "."} or _UNUSED_FILES.match(path + "/" * member.isdir()):
            continue
        if member.isdir():
            tree.folder(path, member.mode)
        elif member.issym():
            tree.link(path, member.linkname)
        elif member.islnk():
            tree.file(path, tree.content(member.linkname.removeprefix("./")), member.mode)
        elif member.isreg():
            tree.file(path, content, member.mode)


def _only(tree: CpioTree, pattern: str) -> bytes:
    matches = [path for path in tree if re.fullmatch(pattern, path)]
    if len(matches) != 1:
        raise BoardError(f"the kernel package has {len(matches)} files like {pattern}; expected 1")
    return tree.content(matches[0])


def _add_modules(tree: CpioTree, boot: CpioTree) -> None:
    """Copy the drivers and write the order in which they can be loaded."""
    paths = {
        path.rsplit("/", 1)[1].removesuffix(".ko").replace("-", "_"): path
        for path in boot
        if path.endswith(".ko")
    }
    order: list[str] = []

    def add(name: str) -> None:
        module = name.replace("-", "_")
        if module in order:
            return
        if module not in paths:
            raise BoardError(f"the kernel package has no module {name}; report this as a bug")
        content = boot.content(paths[module])
        depends = re.search(rb"\0depends=([^\0]*)\0", content)
        for needed in depends[1].decode().split(",") if depends else ():
            if needed:
                add(needed)
        order.append(module)
        tree.file(f"usr/lib/board/{module}.ko", content)

    for name in MODULES:
        add(name)
    tree.file("usr/lib/board/order", "".join(f"{module}.ko\n" for module in order))


def _add_settings(tree: CpioTree) -> None:
    tree.file("init", (Path(__file__).parent / "init.sh").read_bytes(), 0o755)
    if "usr/bin/sh" not in tree:
        tree.link("usr/bin/sh", "busybox")
    tree.file("etc/passwd", _ACCOUNTS)
    tree.file("etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n")
    tree.file("etc/ssh/sshd_config", _SSHD_CONFIG)
    tree.file("etc/hosts", "127.0.0.1 localhost\n")
