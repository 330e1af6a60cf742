"""Encoders and decoders of pictures from the files they are found in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from renorm.models.create import create
from renorm.models.encoder import LAYERS, Decoder, Encoder
from renorm.models.weights import tensors_of

TORCHVISION = "torchvision:vgg19"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # that torchvision's networks expect taken off and divided by
# Where the convolutions stand in the files that others publish, in the order of LAYERS.
IN_TORCHVISIONS = tuple(f"features.{i}" for i in (0, 2, 5, 7, 10, 12, 14, 16, 19))
IN_NORMALIZED = tuple(map(str, (2, 5, 9, 12, 16, 19, 22, 25, 29)))
PIXELS = "0"  # in the same file, a 1x1 convolution of the pixels before all others
IN_DECODER = tuple(map(str, (28, 25, 21, 18, 14, 11, 8, 5, 1)))

Tensors = Mapping[str, Tensor]
Coder = TypeVar("Coder", Encoder, Decoder)


def load_encoder(source: str | Path, pictures: Iterable[Tensor] | None = None) -> Encoder:
    r"""Read an encoder that takes RGB in 0..1 and whose convolutions have a mean activation of 1; it is frozen.

    Preprocessing is folded into the first convolution, which is exact with reflection padding. Torchvision's weights are
    normalized here: with :math:`a_l` the mean activation of convolution l over pictures, channels and positions,

    .. math:: w_l \leftarrow \frac{a_{l-1}}{a_l} w_l, \qquad b_l \leftarrow \frac{1}{a_l} b_l

    As ReLU and pooling are positively homogeneous, what it gives is divided by :math:`a_l` and nothing else changes.

    Args:
        source: a file with ``conv1_1`` ... ``conv4_1``, the community's ``vgg_normalised.pth``, a state dict of torchvision's
            VGG-19, or ``"torchvision:vgg19"``, which torchvision downloads. Other tensors of a file are left alone.
        pictures: for torchvision's weights, batches ``(N, 3, H, W)`` in 0..1 of photographs such as will be encoded, a hundred
            or more; the others are normalized already, and take none.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or holds no such convolutions; pictures are missing, or given where none are taken; a
            convolution never fires on them.

    Reference: Gatys et al., *A Neural Algorithm of Artistic Style*, 2015, where each filter has a factor of its own.
    """
    name, tensors = str(source), _tensors(source)
    layouts = (LAYERS, IN_TORCHVISIONS, (PIXELS, *IN_NORMALIZED))
    layout = next((layout for layout in layouts if _has(tensors, layout)), None)
    if layout is None:
        raise _unknown(name, tensors, "an encoder", "features.0 ... features.19, or 0, 2, 5 ... 29")
    _check_pictures(name, layout is IN_TORCHVISIONS, pictures is not None)
    encoder = _loaded(Encoder, name, tensors, layout[-len(LAYERS) :]).requires_grad_(False)
    if PIXELS in layout:
        _fold(encoder, tensors[f"{PIXELS}.weight"].float().flatten(1), tensors[f"{PIXELS}.bias"].float())
    if pictures is not None:
        std = torch.tensor(STD)
        _fold(encoder, torch.diag(1 / std), -torch.tensor(MEAN) / std)
        _normalize(encoder, pictures)
    return encoder


def wants_pictures(source: str | Path) -> bool:
    """Whether an encoder has to be normalized on pictures: one of torchvision's.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read.
    """
    return str(source) == TORCHVISION or _has(tensors_of(Path(source)), IN_TORCHVISIONS)


def load_decoder(path: str | Path) -> Decoder:
    """Read a decoder: a file with ``conv4_1`` ... ``conv1_1``, or the community's ``decoder.pth``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or holds no such convolutions.
    """
    tensors = tensors_of(Path(path))
    layout = next((layout for layout in (LAYERS, IN_DECODER) if _has(tensors, layout)), None)
    if layout is None:
        raise _unknown(str(path), tensors, "a decoder", "1, 5, 8 ... 28")
    return _loaded(Decoder, str(path), tensors, layout)


def _tensors(source: str | Path) -> Tensors:
    if str(source) == TORCHVISION:
        return create(TORCHVISION, num_classes=None, pretrained=True).state_dict()
    return tensors_of(Path(source))


def _has(tensors: Tensors, layout: Iterable[str]) -> bool:
    return all(f"{place}.{kind}" in tensors for place in layout for kind in ("weight", "bias"))


def _loaded(kind: type[Coder], name: str, tensors: Tensors, layout: tuple[str, ...]) -> Coder:
    """A network as wide as the tensors, with these."""
    side = 0 if kind is Encoder else 1  # of a weight: the one whose channels are those of the encoder's features
    shapes = [tuple(tensors[f"{place}.weight"].shape) for place in layout]
    network = kind([shape[side] for shape in shapes])
    for place, shape, layer in zip(layout, shapes, LAYERS, strict=True):
        if shape != (expected := tuple(network.get_parameter(f"{layer}.weight").shape)):
            raise ValueError(
                f"{place} of {name} has the shape {shape}. {expected} is needed there, between the layers beside it. "
                f"Check that the file is a picture {kind.__name__.lower()} up to relu4_1."
            )
    kinds = ("weight", "bias")
    pairs = list(zip(LAYERS, layout, strict=True))
    network.load_state_dict({f"{layer}.{k}": tensors[f"{place}.{k}"] for layer, place in pairs for k in kinds})
    return network


@torch.no_grad()
def _fold(encoder: Encoder, matrix: Tensor, offset: Tensor) -> None:
    """Let the first convolution see ``matrix @ pixel + offset`` of what it is given."""
    weight = encoder.get_parameter(f"{LAYERS[0]}.weight")
    encoder.get_parameter(f"{LAYERS[0]}.bias").add_(torch.einsum("oihw,i->o", weight, offset))
    weight.copy_(torch.einsum("oihw,ij->ojhw", weight, matrix))


@torch.no_grad()
def _normalize(encoder: Encoder, pictures: Iterable[Tensor]) -> None:
    sums, num_pictures = torch.zeros(len(LAYERS), dtype=torch.float64), 0
    for batch in pictures:
        sums += len(batch) * torch.stack([y.double().mean().cpu() for y in encoder.activations(batch).values()])
        num_pictures += len(batch)
    before = 1.0
    for name, mean in zip(LAYERS, (sums / max(1, num_pictures)).tolist(), strict=True):
        if not 0 < mean < torch.inf:
            raise ValueError(
                f"{name} has a mean activation of {mean:g} over {num_pictures} pictures. Every convolution must fire on some. "
                "Give batches of photographs in 0..1, a hundred or more."
            )
        encoder.get_parameter(f"{name}.weight").mul_(before / mean)
        encoder.get_parameter(f"{name}.bias").div_(mean)
        before = mean


def _check_pictures(name: str, needed: bool, given: bool) -> None:
    if needed and not given:
        raise ValueError(
            f"no pictures were given for {name}. Torchvision's weights are to be normalized by their mean activations on "
            "photographs. Give batches (N, 3, H, W) of RGB in 0..1, a hundred pictures or more."
        )
    if given and not needed:
        raise ValueError(
            f"pictures were given for {name}. Only torchvision's weights are normalized by them, all others are already. "
            "Leave them out."
        )


def _unknown(name: str, tensors: Tensors, what: str, published: str) -> ValueError:
    return ValueError(
        f"{name} holds {', '.join(list(tensors)[:3])}, ... . The convolutions of {what} are needed, called {LAYERS[0]} ... "
        f"{LAYERS[-1]} or, in files of others, {published}. Give such a file, or save this one under these names."
    )
