"""Trained weights that cannot be had."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from renorm.models import create, fetching
from renorm.models.download import is_cached, reachable
from renorm.recipes import open_named


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes calls and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("renorm.models.download.reachable", lambda url: False)


def test_a_server_that_does_not_answer_is_not_waited_for(silent: str):
    started = time.perf_counter()
    assert not reachable(silent, seconds=0.3)
    assert not reachable("http://no-such-host.invalid", seconds=0.3)
    assert not reachable("no url", seconds=0.3)
    assert time.perf_counter() - started < 3


def test_weights_of_torchvision_are_refused_at_once(offline: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def never(*args: Any, **options: Any) -> Any:
        raise AssertionError("asked the network")

    monkeypatch.setattr("torch.hub.download_url_to_file", never)
    message = (
        r"weights of torchvision:resnet18 could not be fetched \(ConnectionError: no answer from download.pytorch.org\)"
    )
    with pytest.raises(
        OSError, match=rf"{message}: a network, or a file of them, is needed. Download them .* --weights FILE"
    ):
        open_named("torchvision:resnet18")


def test_what_is_in_the_cache_needs_no_network(offline: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = "https://nowhere.invalid/folder/w-1234.pth"
    assert not is_cached(url)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "w-1234.pth").touch()
    with fetching("a", url):
        pass


@pytest.mark.parametrize(
    "name", ["timm:resnet10t", "hf_hub:timm/resnet18.a1_in1k", "timm:hf_hub:timm/resnet18.a1_in1k"]
)
def test_the_hub_is_not_asked_again_and_again(
    name: str, offline: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    hub = pytest.importorskip("huggingface_hub")
    pytest.importorskip("timm")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    started = time.perf_counter()
    with pytest.raises(OSError, match=r"the trained weights of \S+ could not be fetched \(.*is needed\. Download them"):
        open_named(name)
    assert time.perf_counter() - started < 5
    assert not hub.constants.HF_HUB_OFFLINE  # as it was


@pytest.mark.parametrize("name", ["timm:vit_tiny_patch16_224", "torchvision:vit_b_16"])
def test_a_model_without_running_statistics_is_refused_before_its_weights_are_fetched(
    name: str, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip(name.partition(":")[0])

    def never(name: str, url: str | None) -> Any:
        raise AssertionError("fetches")

    monkeypatch.setattr("renorm.recipes.classify.start.fetching", never)
    with pytest.raises(ValueError, match="VisionTransformer has no running statistics"):
        open_named(name, tracked=True)
    with pytest.raises(AssertionError, match="fetches"):
        open_named(name)


def test_names_of_the_hub_are_timms(monkeypatch: pytest.MonkeyPatch):
    timm = pytest.importorskip("timm")
    asked = []
    monkeypatch.setattr("renorm.models.download.reachable", lambda url: False)
    monkeypatch.setattr(timm, "create_model", lambda name, **options: asked.append((name, options)))
    create("timm:hf_hub:timm/resnet18.a1_in1k", num_classes=None)
    create("hf-hub:timm/resnet18.a1_in1k", num_classes=3, pretrained=True)
    assert asked == [
        ("hf_hub:timm/resnet18.a1_in1k", {}),
        ("hf-hub:timm/resnet18.a1_in1k", {"num_classes": 3, "pretrained": True}),
    ]
