"""The picture encoder and decoder: published numbers, a chain of plain operations, and what padding does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from renorm.models import Decoder, Encoder, load_decoder, load_encoder
from tests.oracles.numbers import inp, summary

WIDTHS = (4, 5, 6, 7, 8, 9, 10, 11, 12)
PUBLISHED = {
    "relu1_1": (17102.02, -170.1482),
    "relu2_1": (6652.290, 11.57381),
    "relu3_1": (2942.330, -6.00294),
    "relu4_1": (1405.126, 1.82392),
}


def picture() -> Tensor:
    return (0.2 * inp(1, 3, 32, 40, 0) + 0.5).clamp(0, 1)


def chain(network: nn.Module, names: str, x: Tensor, mode: str = "reflect") -> Tensor:
    """The operations one after the other: ``M`` for a pooling, ``U`` for an upsampling."""
    for name in names.split():
        if name == "M":
            x = F.max_pool2d(x, 2)
        elif name == "U":
            x = x.repeat_interleave(2, -1).repeat_interleave(2, -2)
        else:
            layer = network.get_submodule(name.removesuffix("-"))
            assert isinstance(layer, nn.Conv2d)
            x = F.conv2d(F.pad(x, (1, 1, 1, 1), mode=mode), layer.weight, layer.bias)
            x = x if name.endswith("-") else x.clamp(min=0)
    return x


ENCODING = "conv1_1 conv1_2 M conv2_1 conv2_2 M conv3_1 conv3_2 conv3_3 conv3_4 M conv4_1"
DECODING = "conv4_1 U conv3_4 conv3_3 conv3_2 conv3_1 U conv2_2 conv2_1 U conv1_2 conv1_1-"


def test_the_layers_and_their_order():
    encoder, decoder, x = Encoder(WIDTHS), Decoder(WIDTHS), torch.rand(2, 3, 24, 32)
    assert_close(encoder(x), chain(encoder, ENCODING, x))
    assert_close(decoder(encoder(x)), chain(decoder, DECODING, encoder(x)))
    assert decoder(encoder(x)).shape == x.shape
    with pytest.raises(AssertionError):
        assert_close(encoder(x), chain(encoder, ENCODING, x, "constant"))


def test_features_are_those_after_the_first_convolution_of_a_stage():
    encoder, x = Encoder(WIDTHS), torch.rand(1, 3, 16, 24)
    found = encoder.features(x)
    assert {tap: tuple(y.shape[1:]) for tap, y in found.items()} == {
        "relu1_1": (4, 16, 24),
        "relu2_1": (6, 8, 12),
        "relu3_1": (8, 4, 6),
        "relu4_1": (12, 2, 3),
    }
    assert_close(found["relu3_1"], chain(encoder, ENCODING.split(" conv3_2")[0], x))
    assert_close(found["relu4_1"], encoder(x))


def test_a_flat_picture_is_flat_all_the_way():
    encoder, decoder, x = (
        Encoder(WIDTHS),
        Decoder(WIDTHS),
        torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).expand(1, 3, 32, 24),
    )
    for y in [*encoder.features(x).values(), decoder(encoder(x))]:
        assert_close(y, y[..., :1, :1].expand_as(y))
    y = chain(encoder, ENCODING, x, "constant")
    with pytest.raises(AssertionError):
        assert_close(y, y[..., :1, :1].expand_as(y))


def test_a_batch_equals_its_pictures():
    encoder, x = Encoder(WIDTHS), torch.rand(3, 3, 16, 16)
    assert_close(encoder(x), torch.cat([encoder(each) for each in x.split(1)]))


def test_gradients_pass_through_a_frozen_encoder():
    encoder, decoder = Encoder(WIDTHS).requires_grad_(False), Decoder(WIDTHS)
    encoder(decoder(torch.rand(1, 12, 2, 2))).sum().backward()
    assert all(p.grad is not None for p in decoder.parameters())
    assert all(p.grad is None for p in encoder.parameters())


@pytest.mark.parametrize("shape", [(1, 3, 15, 40), (1, 1, 32, 32), (3, 32, 32)])
def test_pictures_it_cannot_encode_are_refused(shape: tuple[int, ...]):
    with pytest.raises(
        ValueError, match=r"pictures of shape .* were given\. \(N, 3, H, W\) with sides of at least 16 .*RGB"
    ):
        Encoder(WIDTHS)(torch.rand(shape))


@pytest.mark.parametrize("kind", [Encoder, Decoder])
def test_nine_widths_are_needed(kind: type[nn.Module]):
    with pytest.raises(ValueError, match=r"the widths \[64, 128\] were given\. One for each of conv1_1, .*VGG-19 has"):
        kind((64, 128))


def test_published_numbers(data_folder: Path):
    encoder = load_encoder(data_folder / "weights" / "vgg19-quarter-encoder.safetensors")
    decoder = load_decoder(data_folder / "weights" / "vgg19-quarter-decoder.safetensors")
    assert encoder.widths == decoder.widths == (16, 16, 32, 32, 64, 64, 64, 64, 128)
    for tap, y in encoder.features(picture()).items():
        assert_close(summary(y)[:2], list(PUBLISHED[tap]), rtol=1e-6, atol=3e-4)
    decoded = decoder(encoder(picture())).relu()
    assert_close(summary(decoded)[:2], [2307.540, -0.37384], rtol=1e-6, atol=3e-4)


def test_the_decoder_reconstructs_photographs(data_folder: Path):
    from renorm.data import load

    x = load(data_folder / "photos" / "photos.parquet").batch(range(4))[0].float() / 255
    encoder = load_encoder(data_folder / "weights" / "vgg19-quarter-encoder.safetensors")
    decoder = load_decoder(data_folder / "weights" / "vgg19-quarter-decoder.safetensors")
    for y in encoder.activations(x).values():
        assert 0.7 < y.mean() < 1.4
    with torch.no_grad():
        error = (decoder(encoder(x)).clamp(0, 1) - x).square().mean()
    assert -10 * error.log10() > 15
