from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.datasets

from renorm.data import cifar, load
from renorm.data.cifar import data_home
from tests.data import archives

TAR = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cifar.HOME, str(tmp_path))
    return tmp_path


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, bytes], bytes]:
    """The files of a small CIFAR-10, and its archive."""
    files = {name: archives.pickled(value) for name, value in archives.cifar10().items()}
    return files, archives.publish(monkeypatch, "cifar10", files)


class Effect:
    """Makes a folder when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def expected(names: list[str]) -> tuple[torch.Tensor, list[int]]:
    batches = archives.cifar10()
    pixels = np.concatenate([batches[name]["data"] for name in names])
    return torch.from_numpy(pixels).view(-1, 3, 32, 32), [label for name in names for label in batches[name]["labels"]]


@pytest.mark.parametrize("where", ["archive", "folder"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_images_labels_and_classes_are_the_files(split: str, where: str, home: Path, published: Any):
    files, archive = published
    if where == "archive":
        archives.write(home / TAR, archive)
    else:
        for name, content in files.items():
            archives.write(home / FOLDER / name, content)
    images = load("cifar10", split)
    pixels, labels = expected([f"data_batch_{i}" for i in range(1, 6)] if split == "train" else ["test_batch"])
    assert torch.equal(images.pixels[:], pixels)  # type: ignore[index]
    assert images.labels.tolist() == labels
    assert images.classes == [f"class {i}" for i in range(10)]
    assert images.mean == (0.4914, 0.4822, 0.4465)


def test_cifar100_has_its_fine_classes(home: Path, monkeypatch: pytest.MonkeyPatch):
    batches = archives.cifar100()
    files = {name: archives.pickled(value) for name, value in batches.items()}
    archives.write(home / "cifar-100-python.tar.gz", archives.publish(monkeypatch, "cifar100", files))
    images = load("cifar100", "train")
    assert images.labels.tolist() == batches["train"]["fine_labels"]
    assert len(images.classes) == 100
    assert images.std == (0.2673, 0.2564, 0.2762)


@pytest.mark.parametrize("size", [16, 112])
def test_a_size_scales_them(size: int, home: Path, published: Any):
    archives.write(home / TAR, published[1])
    plain, scaled = load("cifar10", "test"), load("cifar10", "test", size=size)
    assert scaled[1][0].shape == (3, size, size)
    assert scaled.labels.tolist() == plain.labels.tolist()
    inner = plain[1][0].float() if size == 16 else plain[1][0][:, 2:30, 2:30].float()  # the centre 7/8 of a larger one
    assert abs(scaled[1][0].float().mean() - inner.mean()) < 4


def test_a_root_goes_before_the_environment(tmp_path: Path, published: Any):
    archives.write(tmp_path / "elsewhere" / TAR, published[1])
    assert len(load("cifar10", "test", root=tmp_path / "elsewhere")) == 4


def test_the_usual_folder_is_in_the_cache(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(cifar.HOME)
    assert data_home() == Path.home() / ".cache" / "renorm"


def test_without_files_the_message_says_how(home: Path):
    with pytest.raises(
        FileNotFoundError, match=rf"no {TAR} in .*{home.name}.*one of them is needed\. Fetch it with --down"
    ):
        load("cifar10")


def test_a_tampered_archive_is_refused_before_anything_is_unpickled(home: Path, tmp_path: Path, published: Any):
    files, archive = published
    effect = tmp_path / "it ran"
    evil = pickle.dumps(Effect(effect))
    archives.write(home / TAR, archives.tarred(files | {"test_batch": evil}, FOLDER))
    with pytest.raises(
        ValueError,
        match=rf"{TAR}, or what .*, is not as published: its MD5 .* Nothing of it was used\. Remove it, and fetch",
    ):
        load("cifar10", "test")
    assert not effect.exists()
    pickle.loads(evil)  # the test would not notice a pickle without an effect
    assert effect.exists()
    archives.write(home / TAR, archive)
    assert len(load("cifar10", "test")) == 4


def test_a_tampered_extracted_file_is_not_read(home: Path, tmp_path: Path, published: Any):
    files, archive = published
    effect = tmp_path / "it ran"
    for name, content in (files | {"test_batch": pickle.dumps(Effect(effect))}).items():
        archives.write(home / FOLDER / name, content)
    with pytest.raises(
        FileNotFoundError, match=f"no {TAR} in .*, nor all files of the folder {FOLDER} as they were published"
    ):
        load("cifar10", "test")
    assert not effect.exists()
    archives.write(home / TAR, archive)  # which is right
    assert load("cifar10", "test").labels.tolist() == expected(["test_batch"])[1]


def test_a_file_that_is_not_the_published_one_is_refused_though_the_archive_is(
    home: Path, published: Any, monkeypatch: pytest.MonkeyPatch
):
    archives.write(home / TAR, published[1])
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "test_list", [["test_batch", "0" * 32]])
    with pytest.raises(ValueError, match=rf"{TAR}, or what was extracted from it, is not as published"):
        load("cifar10", "test")


class Server:
    """Answers every request with ``content``, or with the first half of it where ``broken``."""

    def __init__(self) -> None:
        self.content, self.broken, self.requests = b"", False, 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                self.send_response(200)
                self.send_header("Content-Length", str(len(outer.content)))
                self.end_headers()
                self.wfile.write(outer.content[: len(outer.content) // (2 if outer.broken else 1)])

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}/{TAR}"


@pytest.fixture
def server(published: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    server.content = published[1]
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", server.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


def test_download_fetches_once(home: Path, server: Server):
    load("cifar10", "train", download=True)
    requests = server.requests
    for split in ("train", "test"):
        load("cifar10", split, download=True)
    assert server.requests == requests
    assert (home / TAR).read_bytes() == server.content


def test_a_half_file_is_refused_and_fetched_again(home: Path, server: Server):
    archives.write(home / TAR, server.content[: len(server.content) // 2])
    with pytest.raises(ValueError, match=r"is not as published.*fetch it again with --download"):
        load("cifar10", "test")
    assert len(load("cifar10", "test", download=True)) == 4
    assert len(load("cifar10", "test")) == 4


@pytest.mark.parametrize("content", [None, b"something else"], ids=["half of it", "something else"])
def test_a_download_of_anything_else_is_refused(content: bytes | None, home: Path, server: Server):
    server.broken, server.content = content is None, content or server.content
    with pytest.raises(ValueError, match=r"is not as published"):
        load("cifar10", download=True)
    with pytest.raises(ValueError, match=r"is not as published"):
        load("cifar10")
    assert not (home / FOLDER).exists()


def test_no_connection(server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", "http://127.0.0.1:9/x")
    with pytest.raises(
        OSError, match=r"http://127\.0\.0\.1:9/x could not be fetched \(URLError.* copy it to .*tar\.gz"
    ):
        load("cifar10", download=True)


@pytest.mark.parametrize(("options", "what"), [({"download": True}, "download"), ({"root": "x"}, "root")])
def test_what_only_archives_have_is_refused_elsewhere(options: dict[str, Any], what: str):
    with pytest.raises(ValueError, match=f"{what} for digits: only cifar10 and cifar100 have an archive"):
        load("digits", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "tset"}, r"cifar10 has no split 'tset'\. It has test, train\. Use 'test'"),
        ({"holdout": 0.2}, r"cifar10 has its splits, train and test, and holdout=0\.2 would divide them again"),
    ],
)
def test_there_are_two_splits(options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        load("cifar10", **options)
