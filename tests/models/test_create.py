from __future__ import annotations

import pytest
import torch

from renorm.models import ResNet, WideResNet, create


def test_reference_networks_by_name():
    network = create("resnet26", num_classes=7, in_channels=1)
    assert isinstance(network, ResNet)
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 7)
    assert isinstance(create("wrn-10-2", dropout=0.1), WideResNet)


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_other_libraries_by_name(library: str):
    network = create(f"{library}:resnet18", num_classes=3)
    assert network.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    assert create(f"{library}:resnet18", num_classes=None).eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("resnt20", "resnet20"),
        ("wrn28-2", "wrn-28-2"),
        ("nothing", "resnet20"),
        ("timm:resnet19", "timm:resnet18"),
        ("torchvision:resnet19", "torchvision:resnet18"),
        ("tim:resnet18", "resnet110"),
    ],
)
def test_an_unknown_name_lists_the_nearest(name: str, nearest: str):
    with pytest.raises(ValueError, match=rf"no network is called '{name}'.* {nearest}\b.*Use one of these"):
        create(name)


def test_torchvision_is_asked_for_trained_weights(monkeypatch: pytest.MonkeyPatch):
    models = pytest.importorskip("torchvision.models")
    asked = {}
    monkeypatch.setattr(models, "get_model", lambda name, **options: asked.update(options) or torch.nn.Identity())
    create("torchvision:resnet18", num_classes=None, pretrained=True)
    assert asked == {"weights": "DEFAULT"}
