"""A publisher's private keys: Ed25519, one file of mode 600 each, in a folder of their own that is never served."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from edgelab.errors import BadFile

SUFFIX = ".key"
ROLES = {"root": (3, 2), "targets": (1, 1), "snapshot": (1, 1), "timestamp": (1, 1)}
"""For each role how many keys it has, and how many of them have to sign."""
_MARKS = (b"PRIVATE KEY-----",)
_MOST_KEY_BYTES = 16 * 1024


def make_key(folder: Path, name: str) -> Any:
    """Make a key, keep its private half as ``NAME.key``, and return its signer.

    Raises
    ------
    BadFile
        If the file is there already or cannot be written.
    """
    from securesystemslib.signer import CryptoSigner

    signer = CryptoSigner.generate_ed25519()
    target = folder / f"{name}{SUFFIX}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(signer.private_bytes)
            stream.flush()
            os.fsync(stream.fileno())
    except FileExistsError:
        raise BadFile(f"{target} is there already; keys are never replaced, name another folder.") from None
    except OSError as error:
        raise BadFile(f"{target} could not be written ({error.strerror or error}).") from None
    return signer


def load_signers(folder: Path, role: str) -> list[Any]:
    """The signers of a role, by the names of their files.

    Raises
    ------
    BadFile
        If there is none, or a file is no key or is open to others.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    files = sorted(folder.glob(f"{role}-*{SUFFIX}")) if folder.is_dir() else []
    if not files:
        raise BadFile(f"{folder} holds no key for {role}; make keys with `edgelab ota init`.")
    signers = []
    for file in files:
        try:
            if os.name == "posix" and file.stat().st_mode & 0o077:
                raise BadFile(f"{file} can be read by others; keep it to yourself with `chmod 600 {file}`.")
            signers.append(CryptoSigner(load_pem_private_key(file.read_bytes(), None)))
        except (OSError, ValueError, TypeError) as error:
            raise BadFile(f"{file} is no private key ({' '.join(str(error).split())[:80]}).") from None
    return signers


def next_name(folder: Path, role: str) -> str:
    """A name for one more key of a role.

    Examples
    --------
    >>> import tempfile
    >>> next_name(Path(tempfile.mkdtemp()), "root")
    'root-1'
    """
    used = [int(f.stem.rpartition("-")[2]) for f in folder.glob(f"{role}-*{SUFFIX}") if f.stem[-1:].isdigit()]
    return f"{role}-{max(used, default=0) + 1}"


def private_files(folder: Path) -> list[Path]:
    """The files below a folder that are or hold private keys, whatever they are called."""
    return [file for file in sorted(folder.rglob("*")) if file.is_file() and holds_private(file)]


def holds_private(file: Path) -> bool:
    """Whether a file is or holds a private key.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    if file.suffix == SUFFIX:
        return True
    if file.stat().st_size > _MOST_KEY_BYTES:
        return False
    content = file.read_bytes()
    return any(mark in content for mark in _MARKS)
