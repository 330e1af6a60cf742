"""VGG-19 up to relu4_1, whose features carry a picture's style, and the decoder that leads back.

Reference: Simonyan & Zisserman, *Very Deep Convolutional Networks for Large-Scale Image Recognition*, ICLR 2015; with reflection
padding and the mirrored decoder, Huang & Belongie, *Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization*,
ICCV 2017.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

LAYERS = (
    *("conv1_1", "conv1_2", "conv2_1", "conv2_2"),
    *("conv3_1", "conv3_2", "conv3_3", "conv3_4", "conv4_1"),
)
POOLED = ("conv2_1", "conv3_1", "conv4_1")  # after a pooling; in the decoder before an upsampling
STRIDE = 2 ** len(POOLED)  # pixels a side of one cell of the last features
TAPS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")  # whose moments are compared as style
SMALLEST = 16  # pixels a side: less leaves one at relu4_1, which cannot be reflected


class Encoder(nn.Module):
    """Nine 3x3 convolutions with ReLU and reflection padding, and a 2x2 max pooling before each new stage.

    Shape: pictures ``(N, 3, H, W)`` in 0..1, of at least 16 pixels a side, to ``(N, widths[-1], H // 8, W // 8)``.

    Args:
        widths: channels of ``conv1_1`` ... ``conv4_1``; VGG-19's are 64 64, 128 128, 256 256 256 256, 512.

    Raises:
        ValueError: other than nine widths; in the forward, pictures that are too small or not RGB.

    Example:
        >>> import torch
        >>> encoder = Encoder((4, 4, 8, 8, 8, 8, 8, 8, 16))
        >>> encoder(torch.zeros(2, 3, 24, 32)).shape
        torch.Size([2, 16, 3, 4])
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = _checked(widths)
        for name, before, after in zip(LAYERS, (3, *self.widths), self.widths, strict=False):
            self.add_module(name, _convolution(before, after))

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)[TAPS[-1]]

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """What ``relu1_1``, ``relu2_1``, ``relu3_1`` and ``relu4_1`` give."""
        found = self.activations(x)
        return {tap: found[tap.replace("relu", "conv")] for tap in TAPS}

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """What each convolution gives after its ReLU."""
        if x.ndim != 4 or x.shape[1] != 3 or min(x.shape[2:]) < SMALLEST:
            raise ValueError(
                f"pictures of shape {tuple(x.shape)} were given. (N, 3, H, W) with sides of at least {SMALLEST} is needed. "
                "Make them RGB, and enlarge small ones or pad them by reflection."
            )
        found = {}
        for name in LAYERS:
            if name in POOLED:
                x = F.max_pool2d(x, 2)
            found[name] = x = self.get_submodule(name)(x).relu()
        return found


class Decoder(nn.Module):
    """The encoder's convolutions backwards, with channels swapped and nearest upsampling for each pooling.

    There is no ReLU after the last one, and nothing is clamped: do that where a picture is written.

    Shape: ``(N, widths[-1], H, W)``, of at least 2 pixels a side, to ``(N, 3, 8 H, 8 W)``.

    Args:
        widths: the encoder's.

    Raises:
        ValueError: other than nine widths.

    Example:
        >>> import torch
        >>> Decoder((4, 4, 8, 8, 8, 8, 8, 8, 16))(torch.zeros(2, 16, 3, 4)).shape
        torch.Size([2, 3, 24, 32])
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = _checked(widths)
        for name, after, before in reversed(list(zip(LAYERS, (3, *self.widths), self.widths, strict=False))):
            self.add_module(name, _convolution(before, after))

    def forward(self, x: Tensor) -> Tensor:
        for name in reversed(LAYERS):
            x = self.get_submodule(name)(x)
            if name != LAYERS[0]:
                x = x.relu()
            if name in POOLED:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
        return x


def _convolution(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1, padding_mode="reflect")


def _checked(widths: Sequence[int]) -> tuple[int, ...]:
    if len(widths) != len(LAYERS) or min(widths) < 1:
        raise ValueError(
            f"the widths {list(widths)} were given. One for each of {', '.join(LAYERS)} is needed. "
            "VGG-19 has 64 64, 128 128, 256 256 256 256, 512."
        )
    return tuple(widths)
