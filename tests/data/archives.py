"""Archives like CIFAR's, small."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from renorm.extras import require


def pickled(value: Any) -> bytes:
    return pickle.dumps(value, protocol=2)


def batch(seed: int, n: int, label: str, classes: int = 10) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (n, 3072), dtype=np.uint8)
    return {"data": pixels, label: generator.integers(0, classes, n).tolist(), "batch_label": "one"}


def tarred(files: dict[str, bytes], folder: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def publish(monkeypatch: pytest.MonkeyPatch, name: str, files: dict[str, bytes]) -> bytes:
    """An archive of these files, whose checksums torchvision is made to know as the published ones."""
    kind = getattr(require("torchvision.datasets"), name.upper())
    archive = tarred(files, kind.base_folder)
    monkeypatch.setattr(kind, "tgz_md5", md5(archive))
    monkeypatch.setattr(kind, "train_list", [[file, md5(files[file])] for file, _ in kind.train_list])
    monkeypatch.setattr(kind, "test_list", [[file, md5(files[file])] for file, _ in kind.test_list])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": md5(files[kind.meta["filename"]])})
    return archive


def cifar10() -> dict[str, dict[str, Any]]:
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    batches = {name: batch(seed, 4, "labels") for seed, name in enumerate(names)}
    return batches | {"batches.meta": {"label_names": [f"class {i}" for i in range(10)]}}


def cifar100() -> dict[str, dict[str, Any]]:
    batches = {name: batch(seed, 5, "fine_labels", 100) for seed, name in enumerate(["train", "test"])}
    return batches | {"meta": {"fine_label_names": [f"class {i}" for i in range(100)]}}


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
