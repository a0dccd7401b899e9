"""A publisher: signs what it releases, so that devices need not trust the server that hands it out.

A repository is a folder of files that any web server can serve: ``metadata/`` as The Update Framework has it, and
``targets/`` with models, manifests, differences and golden inputs under names that carry their hashes. Files are
written before the lists that name them, and the timestamp last: a reader sees the old state or the new one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from edgelab.errors import BadFile, BadInput
from edgelab.files import expanded, locked, write_bytes
from edgelab.ota import deltas
from edgelab.ota.deltas import sha256
from edgelab.ota.health import PACKAGES
from edgelab.ota.keys import ROLES, load_signers, make_key, next_name, private_files
from edgelab.ota.manifest import Card, Manifest, Payload, now
from edgelab.ota.slots import manifest_path
from edgelab.ota.storage import checked_name

LIFETIME = {"root": 365, "targets": 180, "snapshot": 30, "timestamp": 30}
"""Days until a role's signature expires."""
DELTA_BASES = 3
_WORTH = 0.9
_METADATA, _TARGETS = "metadata", "targets"


@dataclass(frozen=True)
class Initialised:
    """A repository that was made."""

    repository: Path
    keys: Path
    root: Path
    roles: Mapping[str, tuple[int, int]]
    expires: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: see docs/json.md."""
        roles = [
            {"role": role, "keys": keys, "threshold": threshold, "expires": self.expires[role]}
            for role, (keys, threshold) in self.roles.items()
        ]
        return {"repository": str(self.repository), "keys": str(self.keys), "root": str(self.root), "roles": roles}

    def __str__(self) -> str:
        lines = [
            f"{self.repository} is a repository; its devices are made with {self.root}.",
            f"The private keys are in {self.keys}: keep that folder away from the server.",
        ]
        said = "{role}: {threshold} of {keys} keys sign, until {expires}"
        return "\n".join([*lines, *(said.format(**entry) for entry in self.to_dict()["roles"])])

    def _repr_markdown_(self) -> str:
        return str(self).replace("\n", "\n\n")


@dataclass(frozen=True)
class Published:
    """A release that was signed."""

    repository: Path
    manifest: Manifest

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: see docs/json.md."""
        m = self.manifest
        payloads = [
            {"method": p.method, "bytes": p.bytes, "share": p.bytes / m.bytes, "from_sha256": p.from_sha256}
            for p in (m.whole, *m.deltas)
        ]
        return {
            "repository": str(self.repository),
            "model": m.model,
            "release": m.release,
            "format": m.format,
            "bytes": m.bytes,
            "sha256": m.sha256,
            "published": m.published,
            "payloads": payloads,
            "hardware": list(m.hardware),
            "runtime": m.runtime,
            "min_runtime": m.min_runtime,
            "card": dict(vars(m.card)),
        }

    def __str__(self) -> str:
        m = self.manifest
        said = [f"Release {m.release} of {m.model} is signed: {m.bytes:,} bytes, {m.whole.bytes:,} to download whole."]
        said += [
            f"From {str(p.from_sha256)[:12]} by {p.method}: {p.bytes:,} bytes, {100 * p.bytes / m.bytes:.2g} percent."
            for p in m.deltas
        ]
        return "\n".join(said)

    def _repr_markdown_(self) -> str:
        return str(self).replace("\n", "\n\n")


def initialise(repository: Path, keys: Path, *, at: datetime | None = None) -> Initialised:
    """Make a repository and the keys of its roles.

    Raises
    ------
    BadFile
        If either folder is in use, or the keys would lie in what is served.
    """
    from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

    repository, keys = expanded(repository), expanded(keys)
    if keys.resolve().is_relative_to(repository.resolve()):
        raise BadFile(f"{keys} lies in {repository}, which is served; name another folder for the private keys.")
    if (repository / _METADATA).exists() and not (repository / _METADATA / "timestamp.json").is_file():
        raise BadFile(f"{repository} was not finished; remove it and its folder of keys, and make it again.")
    if (repository / _METADATA).exists():
        raise BadFile(f"{repository} is a repository already; name another folder.")
    if repository.is_dir() and any(repository.iterdir()):
        raise BadFile(f"{repository} is not empty; name another folder.")
    if keys.is_dir() and any(keys.iterdir()):
        raise BadFile(f"{keys} is not empty; keys are never replaced, name another folder.")
    moment = at or now()
    root = Root(consistent_snapshot=True, expires=_expiry("root", moment))
    signers: dict[str, list[Any]] = {}
    for role, (count, threshold) in ROLES.items():
        signers[role] = [make_key(keys, f"{role}-{i + 1}") for i in range(count)]
        for signer in signers[role]:
            root.add_key(signer.public_key, role)
        root.roles[role].threshold = threshold
    parts = {
        "targets": Targets(expires=_expiry("targets", moment)),
        "snapshot": Snapshot(expires=_expiry("snapshot", moment)),
        "timestamp": Timestamp(expires=_expiry("timestamp", moment)),
    }
    _sign(repository, "root", Metadata(root), signers["root"])
    write_bytes(repository / "root.json", (repository / _METADATA / "1.root.json").read_bytes())
    for role, part in parts.items():  # the timestamp last: with it the repository is one
        _sign(repository, role, Metadata(part), signers[role])
    expires = {role: f"{_expiry(role, moment):%Y-%m-%d}" for role in ROLES}
    return Initialised(repository, keys, repository / "root.json", dict(ROLES), expires)


class Publisher:
    """A repository and the keys that sign for it.

    Raises
    ------
    BadFile
        If the folder is no repository.
    """

    def __init__(self, repository: Path, keys: Path) -> None:
        self.repository = expanded(repository)
        self.keys = expanded(keys)
        if not (self.repository / _METADATA / "timestamp.json").is_file():
            what = "was not finished; remove it" if (self.repository / _METADATA).exists() else "is no repository"
            raise BadFile(f"{repository} {what}; make one with `edgelab ota init`.")

    def publish(
        self,
        content: bytes,
        golden: bytes,
        *,
        kind: str,
        name: str = "model",
        facts: Mapping[str, Any] | None = None,
        card: Card | None = None,
        hardware: Sequence[str] = (),
        min_runtime: str = "",
        max_latency_ms: float | None = None,
        at: datetime | None = None,
    ) -> Published:
        """Sign a model file as the next release of a model.

        Parameters
        ----------
        content
            The model file.
        golden
            The file of golden inputs with this model's answers, as `golden_for` makes it.
        kind
            Its format, ``"onnx"`` or ``"tflite"``.
        name
            The model's name in the repository.
        facts
            The contract: ``inputs``, ``outputs``, ``quantization``, as `edgelab inspect` states them.
        card, hardware, min_runtime, max_latency_ms
            See `edgelab.ota.manifest.Manifest`.
        at
            The time of publication.

        Raises
        ------
        BadFile
            If a key is missing, or the repository cannot be written.
        BadInput
            If a name leaves the repository, or a limit is none.
        """
        checked_name(name)
        if "/" in name:
            raise BadInput(f"A model's name has no slash; {name!r} has one.")
        _check_limits(hardware, min_runtime, max_latency_ms)
        moment = at or now()
        with self._locked():
            metadata = self._read("targets")
            previous = self._manifest(metadata, name)
            release = 1 if previous is None else previous.release + 1
            files: dict[str, bytes] = {f"{name}/golden-{release}.npz": golden}
            whole = self._whole(files, name, release, kind, content)
            differences = self._deltas(metadata, files, name, release, kind, content, whole.bytes)
            stated = facts or {}
            manifest = Manifest(
                model=name,
                release=release,
                published=moment.isoformat(),
                format=kind,
                bytes=len(content),
                sha256=sha256(content),
                whole=whole,
                golden=f"{name}/golden-{release}.npz",
                golden_bytes=len(golden),
                golden_sha256=sha256(golden),
                deltas=differences,
                max_latency_ms=max_latency_ms,
                inputs=tuple(stated.get("inputs", ())),
                outputs=tuple(stated.get("outputs", ())),
                quantization=dict(stated.get("quantization", {})),
                runtime=PACKAGES[kind],
                min_runtime=min_runtime,
                hardware=tuple(hardware),
                card=card or Card(),
            )
            signed = manifest.to_bytes()
            Manifest.from_bytes(signed)
            self.sign_files({**files, manifest_path(name): signed, f"{name}/release-{release}.json": signed}, moment)
        return Published(self.repository, manifest)

    def sign_files(self, files: Mapping[str, bytes], moment: datetime | None = None) -> None:
        """Put files into the repository, and sign a list that names them."""
        from tuf.api.metadata import TargetFile

        self._signers()
        metadata = self._read("targets")
        for path, content in files.items():
            folder, _, file = path.rpartition("/")
            write_bytes(self.repository / _TARGETS / folder / f"{sha256(content)}.{file}", content)
            metadata.signed.targets[path] = TargetFile.from_data(path, content, ["sha256"])
        self._advance(metadata, "targets", moment or now())

    def refresh(self, moment: datetime | None = None) -> dict[str, str]:
        """Sign the list, the snapshot and the timestamp again, so that they expire later.

        Returns
        -------
        dict
            The day on which each role's signature expires, ``YYYY-MM-DD``. The root's stays: `rotate` signs a new one.
        """
        with self._locked():
            self._advance(self._read("targets"), "targets", moment or now())
            return {role: f"{self._read(role).signed.expires:%Y-%m-%d}" for role in ROLES}

    def rotate(self, role: str, moment: datetime | None = None) -> int:
        """Give a role new keys, and its old ones up; returns the version of the new root.

        The new root is signed by the old root keys and by the new ones, so that devices can follow. The old private
        keys stay in their folder under another suffix.

        Raises
        ------
        BadInput
            If there is no such role.
        BadFile
            If a key is missing or a file cannot be written.
        """
        if role not in ROLES:
            raise BadInput(f"There is no role {role!r}; the roles are {', '.join(ROLES)}.")
        moment = moment or now()
        with self._locked():
            root = self._read("root")
            signers = load_signers(self.keys, "root")
            old = sorted(self.keys.glob(f"{role}-*.key"))
            made = [make_key(self.keys, next_name(self.keys, role)) for _ in range(ROLES[role][0])]
            for key in list(root.signed.roles[role].keyids):
                root.signed.revoke_key(key, role)
            for signer in made:
                root.signed.add_key(signer.public_key, role)
            root.signed.version += 1
            root.signed.expires = _expiry("root", moment)
            _sign(self.repository, "root", root, [*signers, *(made if role == "root" else [])])
            for file in old:
                file.rename(file.with_suffix(".revoked"))
            self._advance(self._read("targets"), "targets", moment)
        return int(root.signed.version)

    def _advance(self, metadata: Any, role: str, moment: datetime) -> None:
        """Sign a changed list of files, then the snapshot that names it, then the timestamp."""
        from tuf.api.metadata import MetaFile

        signers = self._signers()
        snapshot, timestamp = self._read("snapshot"), self._read("timestamp")
        for part, name in ((metadata, role), (snapshot, "snapshot"), (timestamp, "timestamp")):
            part.signed.version += 1
            part.signed.expires = _expiry(name, moment)
        snapshot.signed.meta["targets.json"] = MetaFile(metadata.signed.version)
        timestamp.signed.snapshot_meta = MetaFile(snapshot.signed.version)
        for part, name in ((metadata, role), (snapshot, "snapshot"), (timestamp, "timestamp")):
            _sign(self.repository, name, part, signers[name])

    def _signers(self) -> dict[str, list[Any]]:
        """Everyone who signs a change; asked for before anything is written."""
        return {role: load_signers(self.keys, role) for role in ("targets", "snapshot", "timestamp")}

    def _read(self, role: str) -> Any:
        """The newest metadata of a role."""
        from tuf.api.exceptions import RepositoryError
        from tuf.api.metadata import Metadata

        folder = self.repository / _METADATA
        try:
            if role == "timestamp":
                return Metadata.from_file(str(folder / "timestamp.json"))
            if role == "root":
                newest = max(int(f.name.partition(".")[0]) for f in folder.glob("*.root.json"))
            elif role == "snapshot":
                newest = self._read("timestamp").signed.snapshot_meta.version
            else:
                newest = self._read("snapshot").signed.meta[f"{role}.json"].version
            return Metadata.from_file(str(folder / f"{newest}.{role}.json"))
        except (RepositoryError, OSError, ValueError, KeyError) as error:
            raise BadFile(f"{self.repository} has no sound metadata of {role} ({error}).") from None

    def _manifest(self, metadata: Any, name: str) -> Manifest | None:
        """The newest manifest of a model."""
        path = manifest_path(name)
        return None if path not in metadata.signed.targets else Manifest.from_bytes(self._stored(metadata, path))

    def _stored(self, metadata: Any, path: str) -> bytes:
        folder, _, file = path.rpartition("/")
        name = f"{metadata.signed.targets[path].hashes['sha256']}.{file}"
        try:
            return (self.repository / _TARGETS / folder / name).read_bytes()
        except OSError as error:
            raise BadFile(f"{self.repository} has lost {path} ({error.strerror or error}).") from None

    def _whole(self, files: dict[str, bytes], name: str, release: int, form: str, content: bytes) -> Payload:
        packed = deltas.pack(content)
        method, body = ("zstd", packed) if len(packed) < _WORTH * len(content) else ("raw", content)
        path = f"{name}/{release}.{form}" + (".zst" if method == "zstd" else "")
        files[path] = body
        return Payload(method, path, len(body), sha256(body))

    def _deltas(
        self, metadata: Any, files: dict[str, bytes], name: str, release: int, form: str, content: bytes, whole: int
    ) -> tuple[Payload, ...]:
        """Differences from the last releases, where they are worth it."""
        made: list[Payload] = []
        for older in range(release - 1, max(0, release - 1 - DELTA_BASES), -1):
            path = f"{name}/release-{older}.json"
            if path not in metadata.signed.targets:
                continue
            before = Manifest.from_bytes(self._stored(metadata, path))
            stored = self._stored(metadata, before.whole.path)
            old = deltas.apply_delta(before.whole.method, stored, b"", before.bytes)
            if before.format != form or old == content or any(p.from_sha256 == before.sha256 for p in made):
                continue
            best = deltas.best_delta(old, content, form)
            if best.method == "zstd" or len(best.content) >= _WORTH * whole:
                continue
            target = f"{name}/{older}-{release}.delta"
            files[target] = best.content
            made.append(Payload(best.method, target, len(best.content), sha256(best.content), before.sha256))
        return tuple(made)

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self.repository / "repository")


def refuse_private(repository: Path) -> None:
    """Raise if a folder that is to be served holds private keys.

    Raises
    ------
    BadFile
        If it does, with the first of them.
    """
    found = private_files(repository)
    if found:
        raise BadFile(
            f"{repository} holds private keys ({found[0].name}); move them out of what is served, and rotate them."
        )


def _check_limits(hardware: Sequence[str], min_runtime: str, max_latency_ms: float | None) -> None:
    """Raise for what would make a release that no device takes."""
    if isinstance(hardware, str) or any(not name.strip() for name in hardware):
        raise BadInput("Hardware is named by texts that are not empty.")
    if min_runtime and not re.fullmatch(r"[0-9]+(\.[0-9]+)*", min_runtime):
        raise BadInput(f"The lowest version of a runtime is numbers with dots, such as 1.20, not {min_runtime!r}.")
    if max_latency_ms is not None and not 0 < max_latency_ms < math.inf:
        raise BadInput(f"The longest latency is a positive number of milliseconds, not {max_latency_ms:g}.")


def _sign(repository: Path, role: str, metadata: Any, signers: Sequence[Any]) -> None:
    from tuf.api.serialization.json import JSONSerializer

    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    name = "timestamp.json" if role == "timestamp" else f"{metadata.signed.version}.{role}.json"
    write_bytes(repository / _METADATA / name, metadata.to_bytes(JSONSerializer(compact=True)))


def _expiry(role: str, moment: datetime) -> datetime:
    return moment.replace(microsecond=0) + timedelta(days=LIFETIME[role])
