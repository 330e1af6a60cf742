"""Encoders and decoders in the layouts of others, written with random numbers and run as their authors run them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.testing import assert_close

from renorm.models import Decoder, Encoder, encoder_weights, load_decoder, load_encoder
from renorm.models.encoder import LAYERS

WIDTHS = (4, 5, 6, 7, 8, 9, 10, 11, 12)


def vgg(widths: tuple[int, ...], first: list[nn.Module], mode: str) -> nn.Sequential:
    """The published order of modules, up to the convolution after relu4_1; ``pad`` modules only for reflection."""
    modules, before = list(first), 3
    for name, width in zip([*LAYERS, "conv4_2"], [*widths, 5], strict=True):
        if name in ("conv2_1", "conv3_1", "conv4_1"):
            modules.append(nn.MaxPool2d(2, 2, ceil_mode=mode == "reflect"))
        if mode == "reflect":
            modules.append(nn.ReflectionPad2d(1))
        modules += [nn.Conv2d(before, width, 3, padding=0 if mode == "reflect" else 1, padding_mode="zeros"), nn.ReLU()]
        before = width
    return nn.Sequential(*modules)


def community() -> nn.Sequential:
    return vgg(WIDTHS, [nn.Conv2d(3, 3, 1)], "reflect")


def community_decoder() -> nn.Sequential:
    modules, before = [], WIDTHS[-1]
    for name, width in zip(reversed(LAYERS), [*reversed(WIDTHS[:-1]), 3], strict=True):
        modules += [nn.ReflectionPad2d(1), nn.Conv2d(before, width, 3), nn.ReLU()]
        if name in ("conv4_1", "conv3_1", "conv2_1"):
            modules.append(nn.Upsample(scale_factor=2, mode="nearest"))
        before = width
    return nn.Sequential(*modules[:-1])


def fire(network: nn.Module) -> None:
    """Draw weights with which every convolution fires, as in trained networks."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            module.bias = nn.Parameter(0.2 * torch.rand(len(module.weight)), requires_grad=False)


class Torchvisions(nn.Module):
    """``features`` and ``classifier`` as torchvision's VGG-19 has them, made narrow."""

    def __init__(self) -> None:
        super().__init__()
        self.features = vgg(WIDTHS, [], "zeros")
        self.classifier = nn.Sequential(nn.Linear(4, 2))
        fire(self)


def saved(tensors: dict[str, Tensor], path: Path) -> Path:
    save_file(tensors, path) if path.suffix == ".safetensors" else torch.save(tensors, path)
    return path


@pytest.fixture
def photographs() -> list[Tensor]:
    own = torch.Generator().manual_seed(0)
    return [torch.rand(n, 3, 32, 32, generator=own) for n in (5, 3)]


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_files_of_our_own(suffix: str, tmp_path: Path):
    encoder, decoder, x = Encoder(WIDTHS), Decoder(WIDTHS), torch.rand(2, 3, 16, 24)
    more = encoder.state_dict() | {"lift1_1.weight": torch.zeros(2)}
    found = load_encoder(saved(more, tmp_path / f"encoder{suffix}"))
    assert_close(found(x), encoder(x), rtol=0, atol=0)
    assert not any(p.requires_grad for p in found.parameters())
    back = load_decoder(saved(decoder.state_dict(), tmp_path / f"decoder{suffix}"))
    assert_close(back(encoder(x)), decoder(encoder(x)), rtol=0, atol=0)
    assert all(p.requires_grad for p in back.parameters())


def test_the_communitys_encoder_with_its_pixels_folded_in(tmp_path: Path):
    theirs, x = community(), torch.rand(2, 3, 16, 24)
    with torch.no_grad():
        theirs.get_parameter("0.bias").copy_(torch.tensor([-103.9, -116.8, -123.7]))
    assert isinstance(theirs[29], nn.Conv2d)
    found = load_encoder(saved(theirs.state_dict(), tmp_path / "vgg_normalised.pth"))
    for tap, last in (("relu1_1", 3), ("relu2_1", 10), ("relu3_1", 17), ("relu4_1", 30)):
        assert_close(found.features(x)[tap], theirs[: last + 1](x), rtol=1e-4, atol=1e-3)
    folded = found.get_parameter("conv1_1.weight"), found.get_parameter("conv1_1.bias")
    with pytest.raises(AssertionError):  # padded by zeros: other numbers at the border
        assert_close(nn.functional.conv2d(x, *folded, padding=1).relu(), theirs[:4](x), rtol=1e-4, atol=1e-3)


def test_the_communitys_decoder(tmp_path: Path):
    theirs, x = community_decoder(), torch.rand(2, WIDTHS[-1], 3, 2)
    assert isinstance(theirs[28], nn.Conv2d)
    assert len(theirs) == 29
    found = load_decoder(saved(theirs.state_dict(), tmp_path / "decoder.pth"))
    assert found.widths == WIDTHS
    assert_close(found(x), theirs(x))


def reference(theirs: Torchvisions, x: Tensor) -> dict[str, Tensor]:
    """Torchvision's layers on normalized pixels, padded by reflection, not scaled."""
    x = (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    found, names = {}, iter(LAYERS)
    for module in theirs.features[:20]:
        if isinstance(module, nn.Conv2d):
            x = nn.functional.conv2d(nn.functional.pad(x, (1, 1, 1, 1), mode="reflect"), module.weight, module.bias)
            found[next(names)] = x = x.relu()
        elif isinstance(module, nn.MaxPool2d):
            x = module(x)
    return found


def test_torchvisions_weights_are_folded_and_normalized(tmp_path: Path, photographs: list[Tensor]):
    theirs = Torchvisions()
    encoder = load_encoder(saved(theirs.state_dict(), tmp_path / "vgg19.pth"), photographs)
    everything = encoder.activations(torch.cat(photographs))
    before = reference(theirs, torch.cat(photographs))
    for name, y in everything.items():
        assert_close(y.mean().item(), 1.0, rtol=0, atol=1e-5)
        assert_close(y * before[name].mean(), before[name], rtol=1e-3, atol=1e-4)


def test_dividing_each_layer_by_its_own_mean_is_not_normalizing():
    encoder, x = Encoder(WIDTHS).requires_grad_(False), torch.rand(4, 3, 32, 32)
    fire(encoder)
    for name, y in encoder.activations(x).items():  # what the layer before is divided by has to be given back
        encoder.get_parameter(f"{name}.weight").div_(y.mean())
        encoder.get_parameter(f"{name}.bias").div_(y.mean())
    mean = encoder(x).mean().item()
    assert 0 < mean < torch.inf
    with pytest.raises(AssertionError):
        assert_close(mean, 1.0, rtol=0, atol=0.05)


def test_torchvisions_own_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photographs: list[Tensor]):
    theirs, asked = Torchvisions(), []

    def create(name: str, **options: object) -> nn.Module:
        asked.append((name, options))
        return theirs

    monkeypatch.setattr(encoder_weights, "create", create)
    found = load_encoder("torchvision:vgg19", photographs)
    assert asked == [("torchvision:vgg19", {"num_classes": None, "pretrained": True})]
    other = load_encoder(saved(theirs.state_dict(), tmp_path / "vgg19.pth"), photographs)
    assert_close(found.state_dict(), other.state_dict(), rtol=0, atol=0)


def test_the_layers_of_torchvisions_vgg19_stand_where_they_are_read():
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in models.vgg19(weights=None).state_dict().items()}
    found = [shapes[f"{place}.weight"][0] for place in encoder_weights.IN_TORCHVISIONS]
    assert found == [64, 64, 128, 128, 256, 256, 256, 256, 512]


def test_pictures_are_given_where_they_are_needed(tmp_path: Path, photographs: list[Tensor]):
    path = saved(Torchvisions().state_dict(), tmp_path / "vgg19.pth")
    with pytest.raises(
        ValueError, match=r"no pictures were given for .*19\.pth\. Torchvision's .*Give batches \(N, 3, H, W\)"
    ):
        load_encoder(path)
    with pytest.raises(
        ValueError, match=r"conv1_1 has a mean activation of 0 over 0 pictures\. Every .*a hundred or more"
    ):
        load_encoder(path, [])
    own = saved(Encoder(WIDTHS).state_dict(), tmp_path / "own.safetensors")
    with pytest.raises(
        ValueError, match=r"pictures were given for .*own\.safetensors\. Only torchvision's .*Leave them out"
    ):
        load_encoder(own, photographs)


def test_a_layer_that_never_fires_is_named(tmp_path: Path, photographs: list[Tensor]):
    theirs = Torchvisions()
    nn.init.constant_(theirs.get_parameter("features.7.bias"), -1e6)
    with pytest.raises(
        ValueError, match=r"conv2_2 has a mean activation of 0 over 8 pictures\. Every convolution must fire"
    ):
        load_encoder(saved(theirs.state_dict(), tmp_path / "vgg19.pth"), photographs)


def test_other_files_are_refused(tmp_path: Path):
    other = saved({"fc.weight": torch.zeros(2), "fc.bias": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(
        ValueError, match=r"other\.safetensors holds fc\.bias, fc\.weight, .*an encoder .*features\.0 .*Give"
    ):
        load_encoder(other)
    with pytest.raises(
        ValueError, match=r"other\.safetensors holds fc\..*of a decoder are needed, .*1, 5, 8 \.\.\. 28\. Give"
    ):
        load_decoder(other)
    with pytest.raises(FileNotFoundError, match=r"none\.pth is no file"):
        load_encoder(tmp_path / "none.pth")
    (tmp_path / "cut.pth").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"cut\.pth \(2 bytes\) cannot be read as weights"):
        load_decoder(tmp_path / "cut.pth")


def test_an_encoder_is_no_decoder(tmp_path: Path):
    encoder = saved(Encoder(WIDTHS).state_dict(), tmp_path / "encoder.safetensors")
    decoder = saved(Decoder(WIDTHS).state_dict(), tmp_path / "decoder.safetensors")
    with pytest.raises(
        ValueError, match=r"conv1_1 of .*decoder\.safetensors has the shape \(3, 4, 3, 3\).*picture encoder"
    ):
        load_encoder(decoder)
    with pytest.raises(
        ValueError, match=r"conv1_1 of .*encoder\.safetensors has the shape \(4, 3, 3, 3\).*picture decoder"
    ):
        load_decoder(encoder)
