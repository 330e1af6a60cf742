import pytest
import torch

import renorm
from renorm.data import Images, View, load, view
from renorm.evaluate import Classifier
from renorm.models import create

BRANCHES = ["weak", "strong"]


def make_view(name: str) -> View:
    return view(name, 16, digits=True)


def make_classifier(images: Images) -> Classifier:
    """A network of two branches that differ."""
    torch.manual_seed(0)
    model = create("resnet8")
    renorm.split_(model, BRANCHES)
    for tensor in [*model.buffers(), *model.parameters()]:
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.data += torch.rand_like(tensor)
    return Classifier(model, images.mean, images.std)


@pytest.fixture
def images() -> Images:
    return load("digits", split="test").subset(range(48))


@pytest.fixture
def classifier(images: Images) -> Classifier:
    return make_classifier(images)
