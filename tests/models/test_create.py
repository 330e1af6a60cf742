from __future__ import annotations

import re

import pytest
import torch

from renorm.models import VGG, DenseNet, PreActResNet, ResNet, WideResNet, create
from renorm.models.create import FAMILIES, NAMES


def test_reference_networks_by_name():
    network = create("resnet26", num_classes=7, in_channels=1)
    assert isinstance(network, ResNet)
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 7)
    assert isinstance(create("wrn-10-2", dropout=0.1), WideResNet)


def test_numbers_in_a_name_are_the_networks_first_arguments():
    with torch.device("meta"):
        assert isinstance(create("preact-resnet18"), PreActResNet)
        assert isinstance(create("vgg11-bn"), VGG)
        assert isinstance(create("densenet-bc-100-12"), DenseNet)
        assert create("densenet-bc-10-6").get_parameter("conv1.weight").shape == (12, 3, 3, 3)


def test_the_names_that_messages_offer_are_of_a_family():
    families = [next(pattern for pattern in FAMILIES if re.fullmatch(pattern, name)) for name in NAMES]
    assert set(families) == set(FAMILIES)


@pytest.mark.filterwarnings("ignore:The default weight init")
@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_heads_that_only_training_calls_are_left_out(name: str):
    with torch.device("meta"):
        plain, full = create(f"torchvision:{name}"), create(f"torchvision:{name}", aux_logits=True)
    extra = set(full.state_dict()) - set(plain.state_dict())
    assert extra
    assert all(key.lower().startswith("aux") for key in extra)


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
        ("vgg16", "vgg16-bn"),
        ("preactresnet18", "preact-resnet18"),
        ("densenet-100-12", "densenet-bc-100-12"),
        ("timm:resnet19", "timm:resnet18"),
        ("torchvision:resnet19", "torchvision:resnet18"),
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
