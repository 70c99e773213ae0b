"""The user's keys for paramiko: private keys in every format ``ssh-keygen`` writes, certificates.

cryptography reads the files, for paramiko's own readers know fewer formats. Costs half a second to
import.
"""

from __future__ import annotations

import base64
import contextlib
import io
import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

_MOST_BYTES = 1 << 20
_MAGIC = b"openssh-key-v1\0"
#: First bytes of the public half of a key on a security token.
_TOKEN_KEY = re.compile(rb"\s*sk-(ssh|ecdsa)")


class EncryptedKeyError(Exception):
    """A key that only its passphrase opens."""


class UnusableKeyError(Exception):
    """A file that paramiko can make no key of; ``known`` if it is a key for OpenSSH."""

    def __init__(self, *, known: bool) -> None:
        super().__init__()
        self.known = known


def private_key(path: Path) -> paramiko.PKey:
    """Read a private key.

    Raises:
        OSError: the file cannot be read.
        EncryptedKeyError: it needs a passphrase.
        UnusableKeyError: it is none, or one of another kind.
    """
    with path.open("rb") as stream:
        content = stream.read(_MOST_BYTES)
    try:
        key = _loaded(content)
    except TypeError as error:
        raise EncryptedKeyError from error
    except (ValueError, UnsupportedAlgorithm) as error:
        known = is_token_key(path) or b"PRIVATE KEY-----" in content
        raise UnusableKeyError(known=known) from error
    classes: dict[type, type[paramiko.PKey]] = {
        rsa.RSAPrivateKey: paramiko.RSAKey,
        ed25519.Ed25519PrivateKey: paramiko.Ed25519Key,
        ec.EllipticCurvePrivateKey: paramiko.ECDSAKey,
    }
    for kind, reader in classes.items():
        if isinstance(key, kind):
            text = key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.OpenSSH,
                serialization.NoEncryption(),
            ).decode()
            try:
                return reader.from_private_key(io.StringIO(text))
            except (ValueError, paramiko.SSHException) as error:
                raise UnusableKeyError(known=True) from error
    raise UnusableKeyError(known=True)


def _loaded(content: bytes) -> serialization.SSHPrivateKeyTypes:
    """A key of cryptography's; a TypeError means that it is encrypted."""
    if b"BEGIN OPENSSH PRIVATE KEY" in content:
        try:
            return serialization.load_ssh_private_key(content, password=None)
        except ValueError as error:
            if "password" in str(error).lower():
                raise TypeError(str(error)) from error
            raise
    key = serialization.load_pem_private_key(content, password=None)
    if isinstance(key, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        return key
    raise ValueError(f"a key of kind {type(key).__name__}")


def is_token_key(path: Path) -> bool:
    """Return True if an identity file is the handle of a key on a security token."""
    with contextlib.suppress(OSError), _public_file(path).open("rb") as stream:
        return _TOKEN_KEY.match(stream.read(64)) is not None
    return path.name.endswith("_sk")


def public_blob(path: Path) -> bytes | None:
    """The public half of an identity file: beside it in any format of ``ssh-keygen``, or in it."""
    try:
        with _public_file(path).open(encoding="utf-8") as stream:
            text = stream.read(_MOST_BYTES)
    except FileNotFoundError:
        return _blob_within(path)
    except (OSError, ValueError):
        return None
    with contextlib.suppress(ValueError, IndexError, UnsupportedAlgorithm):
        if text.startswith("---- BEGIN SSH2 PUBLIC KEY"):
            body = re.sub(r"^[^\n]*:([^\n]*\\\n)*[^\n]*\n", "", text, flags=re.MULTILINE)
            return base64.b64decode("".join(body.splitlines()[1:-1]))
        if text.startswith("-----BEGIN"):
            key = serialization.load_pem_public_key(text.encode())
            text = key.public_bytes(
                serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
            ).decode()
        return base64.b64decode(text.split()[1])
    return None


def _blob_within(path: Path) -> bytes | None:
    """The public half that an OpenSSH private key holds in the clear, encrypted or not."""
    with contextlib.suppress(OSError, ValueError, struct.error), path.open("rb") as stream:
        body = stream.read(_MOST_BYTES).strip().splitlines()
        if body and body[0] == b"-----BEGIN OPENSSH PRIVATE KEY-----":
            content = base64.b64decode(b"".join(body[1:-1]))
            offset = len(_MAGIC)
            for _ in range(3):  # the cipher, the key derivation and its options
                offset += 4 + struct.unpack_from(">I", content, offset)[0]
            (size,) = struct.unpack_from(">I", content, offset + 4)
            blob = content[offset + 8 : offset + 8 + size]
            if content.startswith(_MAGIC) and len(blob) == size:
                return blob
    return None


def certificates(key: paramiko.PKey, path: Path, named: Iterable[Path]) -> Iterator[Path]:
    """The files that hold a certificate of this key: those named, and the one beside it."""
    beside = path.with_name(f"{path.name.removesuffix('.pub')}-cert.pub")
    for file in dict.fromkeys((*named, beside)):
        with contextlib.suppress(OSError, ValueError, UnsupportedAlgorithm):
            found = serialization.load_ssh_public_identity(file.read_bytes())
            if isinstance(found, serialization.SSHCertificate):
                half = found.public_key().public_bytes(
                    serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
                )
                if base64.b64decode(half.split()[1]) == key.asbytes():
                    yield file


def _public_file(path: Path) -> Path:
    return path if path.suffix == ".pub" else path.with_name(f"{path.name}.pub")
