#!/bin/sh
# Install the Debian packages that the tests talk to: a real sshd, the adb client, QEMU, PostgreSQL,
# a browser and TeX.
# Does nothing when all are there; needs root or password-less sudo otherwise.
set -eu

missing=""
need() { # need PROGRAM PACKAGE
    command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing="$missing $2"
}
need sshd openssh-server
need adb adb
need ssh openssh-client
need qemu-system-aarch64 qemu-system-arm
need qemu-aarch64 qemu-user
need dpkg-deb dpkg
need git git
need gcc gcc
need pdflatex "texlive-latex-base texlive-latex-recommended"
# Debian keeps the server's programs out of the PATH.
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
command -v google-chrome >/dev/null 2>&1 || need chromium chromium

[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ]; then as_root=""
elif sudo -n true 2>/dev/null; then as_root="sudo"
else
    echo "error: the tests need:$missing; run: sudo apt-get install --no-install-recommends$missing" >&2
    exit 2
fi
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -q
# Unquoted on purpose: a list of package names from the lines above.
# shellcheck disable=SC2086
$as_root apt-get install -q -y --no-install-recommends $missing
