"""What a release says of itself: bytes and hash, what goes in and out, what it needs, and where it fails."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from edgelab.errors import BadInput, EdgelabError
from edgelab.ota.storage import checked_name

VERSION = 1
METHODS = ("raw", "zstd", "dictionary", "aligned")
MOST_MANIFEST_BYTES = 256 * 1024
MOST_MODEL_BYTES = 2**31
Raw = bytes
"""What a field named ``bytes`` would hide."""
_HASH = re.compile(r"[0-9a-f]{64}")


class Refused(EdgelabError):
    """A release, or what the server says of it, is not taken; the device goes on with what it has.

    ``kind`` is one of: tampered, truncated, oversized, replayed, mixed, expired, wrong key, older, path, malformed,
    hardware, runtime, space, smoke test, not judged, health, rolled back, slot. ``crashes`` counts the child processes
    that died over it.
    """

    def __init__(self, kind: str, sentence: str, crashes: int = 0) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.crashes = crashes


@dataclass(frozen=True)
class Payload:
    """A file to download: the model whole or as a difference from the one whose hash is ``from_sha256``."""

    method: str
    path: str
    bytes: int
    sha256: str
    from_sha256: str | None = None


@dataclass(frozen=True)
class Card:
    """A short model card: the task, its target, where it fails, and what it does when it is unsure or late."""

    target: str = "not stated"
    fails: str = "not stated"
    degrades: str = "not stated"

    @classmethod
    def of(cls, stated: Mapping[str, Any]) -> Card:
        """From a mapping.

        Raises
        ------
        BadInput
            If it has other keys, or values that are no text.
        """
        other = sorted(set(stated) - {"target", "fails", "degrades"})
        if other or not all(isinstance(value, str) for value in stated.values()):
            raise BadInput(
                f"A model card has the texts target, fails and degrades; this one has {other or 'another type'}."
            )
        return cls(**{key: str(value) for key, value in stated.items()})


@dataclass(frozen=True)
class Manifest:
    """One release of one model.

    Attributes
    ----------
    model, release
        The model's name, and its counter, which only grows: a device takes no release below the one that it committed.
    published
        When, in UTC; for a device without a clock it is the least that the time can be.
    format, bytes, sha256
        Of the model file.
    whole, deltas
        What may be downloaded to get it.
    golden, golden_bytes, golden_sha256
        The file of golden inputs with the answers of this model at its publisher.
    min_sqnr_db, min_agreement, max_latency_ms
        What the device's answers to them have to keep; the last is None without a limit.
    inputs, outputs, quantization
        The contract, as `edgelab inspect` states it.
    runtime, min_runtime
        The runtime's package, and the lowest version, or "" for any.
    hardware
        The devices that may run it; all of them if there is none.
    card
        Where it fails, its target, how it degrades.
    """

    model: str
    release: int
    published: str
    format: str
    bytes: int
    sha256: str
    whole: Payload
    golden: str
    golden_bytes: int
    golden_sha256: str
    deltas: tuple[Payload, ...] = ()
    min_sqnr_db: float = 20.0
    min_agreement: float = 0.9
    max_latency_ms: float | None = None
    inputs: tuple[Mapping[str, Any], ...] = ()
    outputs: tuple[Mapping[str, Any], ...] = ()
    quantization: Mapping[str, Any] = field(default_factory=dict)
    runtime: str = ""
    min_runtime: str = ""
    hardware: tuple[str, ...] = ()
    card: Card = field(default_factory=Card)

    @property
    def published_at(self) -> datetime:
        """When it was published."""
        return datetime.fromisoformat(self.published)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {"edgelab_manifest": VERSION, **asdict(self)}

    def _repr_markdown_(self) -> str:
        said = f"**{self.model}, release {self.release}** ({self.format}, {self.bytes:,} bytes)"
        return f"{said}\n\nTarget: {self.card.target}. Fails: {self.card.fails}. Degrades: {self.card.degrades}."

    def to_bytes(self) -> Raw:
        """As the file that is signed."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    @classmethod
    def from_bytes(cls, content: Raw) -> Manifest:
        """Read what `to_bytes` wrote; hostile content is refused.

        Raises
        ------
        Refused
            If it is too long, no manifest, or names a path that leaves its folder.
        """
        if len(content) > MOST_MANIFEST_BYTES:
            raise Refused("oversized", f"The manifest has {len(content):,} bytes; {MOST_MANIFEST_BYTES:,} are read.")
        try:
            found = json.loads(content)
            version = found.pop("edgelab_manifest")
            if version != VERSION:
                raise ValueError(f"it is of version {version!r}, and {VERSION} is read here")  # noqa: TRY301
            found["whole"] = _payload(found["whole"])
            found["deltas"] = tuple(_payload(entry) for entry in found["deltas"])
            found["card"] = Card.of(found["card"])
            for key in ("inputs", "outputs", "hardware"):
                found[key] = tuple(found[key])
            manifest = cls(**found)
            manifest._check()
        except Refused:
            raise
        except BadInput as error:
            raise Refused("path" if "leaves" in str(error) else "malformed", f"The manifest: {error}") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
            raise Refused("malformed", f"The manifest is not sound ({reason}).") from None
        return manifest

    def _check(self) -> None:
        checked_name(self.model)
        checked_name(self.golden)
        whole = (self.release, self.bytes, self.golden_bytes, *(p.bytes for p in (self.whole, *self.deltas)))
        if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in whole):
            raise BadInput("counters and sizes are whole numbers above 0.")
        if max(whole[1:]) > MOST_MODEL_BYTES:
            raise Refused("oversized", f"The manifest states {max(whole[1:]):,} bytes; {MOST_MODEL_BYTES:,} are taken.")
        hashes = (self.sha256, self.golden_sha256, *(p.sha256 for p in (self.whole, *self.deltas)))
        if not all(isinstance(h, str) and _HASH.fullmatch(h) for h in hashes):
            raise BadInput("a hash is 64 hexadecimal digits.")
        if self.format not in ("onnx", "tflite") or self.whole.method not in ("raw", "zstd"):
            raise BadInput(f"no release is of format {self.format!r} by {self.whole.method!r}.")
        numbers = (self.min_sqnr_db, self.min_agreement, self.max_latency_ms or 0.0)
        if not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
            raise BadInput("limits are finite numbers.")
        if not all(isinstance(text, str) for text in (self.min_runtime, *self.hardware)):
            raise BadInput("hardware and the lowest version of the runtime are texts.")
        if self.published_at.tzinfo is None:
            raise BadInput("the time of publication has no zone.")


def _payload(found: Mapping[str, Any]) -> Payload:
    payload = Payload(**found)
    checked_name(payload.path)
    if payload.method not in METHODS:
        raise BadInput(f"a payload's method is one of {', '.join(METHODS)}, not {payload.method!r}.")
    return payload


def now() -> datetime:
    """The time in UTC, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)
