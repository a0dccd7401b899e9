"""Speech Commands: one-second recordings of single words by thousands of speakers; downloaded when asked for."""

from __future__ import annotations

import hashlib
import heapq
import io
import os
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from edgelab.data.archives import members
from edgelab.data.dataset import Dataset, Split
from edgelab.data.download import RemoteFile, fetch
from edgelab.data.splitting import thirds
from edgelab.errors import BadFile, BadInput

RATE_HZ = 16_000
TEN_WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
"""The ten commands of the paper's main task."""


def _file(version: str, sha256: str, size_bytes: int) -> RemoteFile:
    name = f"speech_commands_{version}.tar.gz"
    hosts = ("https://storage.googleapis.com/download.tensorflow.org", "http://download.tensorflow.org")
    urls = tuple(f"{host}/data/{name}" for host in hosts)
    return RemoteFile(f"speech_commands/{name}", urls, f"sha256:{sha256}", size_bytes)


# SHA-256 as torchaudio states them, and TensorFlow Datasets for v0.02; the authors publish none.
FILES = {
    "v0.01": _file("v0.01", "743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d", 1_489_096_277),
    "v0.02": _file("v0.02", "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58", 2_428_923_189),
}
_LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
_LOUDNESS = ("quiet", "medium", "loud")
_MOST_BYTES = 8 * 1024**3
_MOST_MEMBER_BYTES = 16 * 1024 * 1024


def speech_commands(
    classes: Sequence[str] = TEN_WORDS,
    version: str = "v0.02",
    per_class: int | None = 1500,
    *,
    mirror: str | None = None,
    checksum: str | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Recordings of single words, one second at 16 kHz, in the published splits: no speaker is in two of them.

    The first call downloads 2.4 GB to the cache folder; later calls need no network. The archive is read as a
    stream, so nothing is unpacked to disk, and each call takes as long as that takes.

    Parameters
    ----------
    classes
        Words of the data set; label i is the i-th of them.
    version
        ``"v0.01"`` or ``"v0.02"``.
    per_class
        At most this many recordings of each word in all three splits together, chosen by a hash of the file's
        name; None for all, which takes 64 kB of memory each.
    mirror, checksum, folder
        See `edgelab.data.download.fetch`.

    Returns
    -------
    Dataset
        x (N, 1, 16000) from -1 to 1; shorter recordings end in silence. Groups: ``loudness`` (quiet, medium,
        loud: thirds of the training recordings of the same word) and ``speaker``. See
        ``datasets/speech_commands.md``.

    Raises
    ------
    BadInput
        If the words or the version are not in the data set.
    DownloadFailed
        If the file cannot be had.
    BadFile
        If it is not what its name says.

    Notes
    -----
    P. Warden, Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition, arXiv:1804.03209 (2018).
    """
    if version not in FILES:
        raise BadInput(f"There is no version {version!r} of Speech Commands; use one of {', '.join(FILES)}.")
    words = tuple(classes)
    if len(words) < 2 or len(set(words)) != len(words):
        raise BadInput(f"speech_commands() needs at least two different words, not {list(words)}.")
    if per_class is not None and per_class < 10:
        raise BadInput(f"per_class={per_class} leaves too little for three splits; use 10 or more.")
    content = _read(fetch(FILES[version], mirror, checksum, folder), words, per_class)
    return _dataset(content, words)


@dataclass
class _Content:
    """What one pass over the archive found: recordings by file name, and the names that the two lists hold."""

    path: Path
    clips: dict[str, NDArray[np.int16]] = field(default_factory=dict)
    lists: dict[str, set[str]] = field(default_factory=dict)


def _read(path: Path, words: Sequence[str], per_class: int | None) -> _Content:
    from tqdm.auto import tqdm

    content = _Content(path)
    kept: dict[str, list[tuple[int, str]]] = {word: [] for word in words}
    seen: set[str] = set()

    def wanted(name: str) -> bool:
        if name in _LISTS.values():
            return True
        word, _, rest = name.partition("/")
        if not rest.endswith(".wav") or word.startswith("_"):
            return False
        seen.add(word)
        if word not in kept:
            return False
        # A heap of the smallest hashes: whatever the archive's order, the same recordings stay, and memory is bounded.
        heapq.heappush(kept[word], (-_rank(name), name))
        if per_class is None or len(kept[word]) <= per_class:
            return True
        _, dropped = heapq.heappop(kept[word])
        content.clips.pop(dropped, None)
        return dropped != name

    for name, data in tqdm(members(path, wanted, _MOST_BYTES, _MOST_MEMBER_BYTES), desc=path.name, unit=" files"):
        split = next((split for split, list_name in _LISTS.items() if name == list_name), None)
        if split is None:
            content.clips[name] = read_wav(path, name, data)
        else:
            content.lists[split] = {str(PurePosixPath(line)) for line in data.decode("utf-8", "replace").split()}
    if missing := [word for word in words if word not in seen]:
        raise BadInput(f"{', '.join(missing)} is not in {path.name}; it holds {', '.join(sorted(seen)) or 'no words'}.")
    if len(content.lists) < len(_LISTS):
        raise BadFile(f"{path} lacks {' or '.join(_LISTS.values())}; it is not the published archive; delete it.")
    return content


def read_wav(path: Path, name: str, data: bytes) -> NDArray[np.int16]:
    """The samples of a WAV member: 16 kHz, one channel, 16-bit PCM; at most one second of it."""
    try:
        with wave.open(io.BytesIO(data)) as sound:
            form = (sound.getframerate(), sound.getnchannels(), sound.getsampwidth(), sound.getcomptype())
            if form != (RATE_HZ, 1, 2, "NONE"):
                raise BadFile(f"{path} holds {name} as {form}, and not as 16 kHz, one channel, 16 bits; delete it.")
            return np.frombuffer(sound.readframes(RATE_HZ), "<i2").astype(np.int16)
    except (wave.Error, EOFError, ValueError) as error:
        raise BadFile(f"{path} holds {name}, which is not a readable WAV ({error}); delete it.") from error


def _dataset(content: _Content, words: Sequence[str]) -> Dataset:
    names = sorted(content.clips, key=_rank)
    y = np.array([words.index(name.partition("/")[0]) for name in names], np.int64)
    of = {name: split for split, listed in content.lists.items() for name in listed}
    part = np.array([of.get(name, "train") for name in names])
    level = np.array([_level(content.clips[name]) for name in names])
    for split in ("train", *_LISTS):
        counts = np.bincount(y[part == split], minlength=len(words))
        if not counts.all():
            raise BadInput(
                f"'{words[int(counts.argmin())]}' has no {split} recording among those chosen; raise per_class."
            )
    groups: Mapping[str, NDArray[np.str_]] = {
        "loudness": thirds(level, y, np.flatnonzero(part == "train"), _LOUDNESS),
        "speaker": np.array([PurePosixPath(name).name.partition("_")[0] for name in names]),
    }
    splits = {}
    for split in ("train", *_LISTS):
        index = np.flatnonzero(part == split)
        x = np.zeros((len(index), 1, RATE_HZ), np.float32)
        for row, item in zip(x, index, strict=True):
            clip = content.clips.pop(names[item])
            row[0, : len(clip)] = clip / np.float32(32768)
        splits[split] = Split(x, y[index], {key: values[index] for key, values in groups.items()})
    return Dataset(
        name="speech_commands",
        **splits,
        notes=(),
        class_names=tuple(words),
        source="P. Warden, Google, arXiv:1804.03209",
        licence="CC BY 4.0",
        card="datasets/speech_commands.md",
        scaling="16-bit sample / 32768, so -1 to 1",
    )


def _rank(name: str) -> int:
    """A fixed number for a file name that has nothing to do with its word, its speaker or its split."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def _level(clip: NDArray[np.int16]) -> float:
    """Root mean square of the recording."""
    return float(np.sqrt(np.mean(clip.astype(np.float64) ** 2))) if len(clip) else 0.0
