"""A style network as a program: the style is an input, so that one file gives any."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from renorm.export.checked import Exported, check_name, write_checked
from renorm.export.formats import Signature
from renorm.models import StyleMoments, Stylizer

SHAPES = ((2, 32, 40), (1, 16, 16), (3, 48, 24))  # of the batches that the file is compared on
SIDES = {2: ("height", 8), 3: ("width", 8)}
STYLIZED = Signature(("images", "mean", "std"), "pictures", ({0: ("batch", 1), **SIDES}, None, None))


class AnyStyle(nn.Module):
    """A style network of pictures and the moments of a style.

    Shape: images ``(N, 3, H, W)`` in 0..1, sides multiples of 8 from 16 on, mean and std ``(C,)``, to pictures as the images,
    which may leave 0..1.
    """

    def __init__(self, net: Stylizer) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        features = self.net.encoder(images)
        own_mean, own_std = self.net.moments(features)
        return self.net.decoder(self.net.renormed((features - own_mean) / own_std, own_std, StyleMoments(mean, std)))


def write_stylizer(net: Stylizer, path: str | PathLike[str], *, about: Mapping[str, Any] | None = None) -> Exported:
    r"""Write a style network for batches of any size and sides of any multiple of 8 from 16 on, as ``.pt2`` or ``.onnx``.

    Its inputs are ``images``, and ``mean`` and ``std`` of a style: the site of a bank of :meth:`Stylizer.style`, with the
    standard deviation :math:`\sqrt{var + \epsilon}`. The file is opened again and compared with the network on three sizes
    before it gets its name.

    Raises:
        ValueError: another suffix.
        ImportError: a library that ONNX needs is missing.
        RuntimeError: the file is not equal to the network.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> widths = (4, 4, 8, 8, 8, 8, 8, 8, 16)
        >>> net = renorm.models.Stylizer(renorm.models.Encoder(widths), renorm.models.Decoder(widths))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_stylizer(net, f"{folder}/net.pt2").batches
        (2, 1, 3)
    """
    path = check_name(path)
    generator, channels = torch.Generator().manual_seed(0), net.encoder.widths[-1]

    def drawn(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    probes = [(drawn(n, 3, *sides), drawn(channels), drawn(channels)) for n, *sides in SHAPES]
    error, tensors = write_checked(AnyStyle(net), path, probes, STYLIZED, {"eps": str(net.eps), **(about or {})})
    return Exported(path, tuple(n for n, *_ in SHAPES), error, tensors, tuple((h, w) for _, h, w in SHAPES))
