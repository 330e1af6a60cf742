"""VGG networks with batch normalization."""

from __future__ import annotations

from torch import Tensor, nn

from renorm.models.resnet import initialize

CHANNELS = (64, 128, 256, 512, 512)  # of the five stages
CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class VGG(nn.Module):
    """VGG with a norm after every convolution, and one linear layer on the features' mean.

    Five stages of 3x3 convolutions, each closed by a 2x2 maximum. The mean and the single linear layer take the place of
    the published three, which fit images of 224 pixels only; the depth in the name counts those.

    Shape:
        ``(N, in_channels, H, W) -> (N, num_classes)`` for any H and W; the maxima of odd sides keep the last row.

    Args:
        depth: 11, 13, 16 or 19.
        num_classes: number of outputs.
        dropout: probability of dropping a feature before the linear layer.
        in_channels: channels of the input.

    Raises:
        ValueError: another depth.

    Reference: Simonyan & Zisserman, *Very Deep Convolutional Networks for Large-Scale Image Recognition*, ICLR 2015;
    Ioffe & Szegedy, *Batch Normalization*, ICML 2015.

    Example:
        >>> import torch
        >>> VGG(11, num_classes=5)(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 5])
    """

    def __init__(self, depth: int, num_classes: int = 10, *, dropout: float = 0.0, in_channels: int = 3) -> None:
        super().__init__()
        if depth not in CONVOLUTIONS:
            nearest = min(CONVOLUTIONS, key=lambda known: abs(known - depth))
            raise ValueError(f"a depth of {depth} is none of VGG's: 11, 13, 16 or 19 is needed. Use vgg{nearest}-bn.")
        before = [in_channels, *CHANNELS[:-1]]
        stages = zip(before, CHANNELS, CONVOLUTIONS[depth], strict=True)
        self.features = nn.Sequential(*(stage(*each) for each in stages))
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(CHANNELS[-1], num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.dropout(self.features(x).mean((2, 3))))


def stage(in_channels: int, channels: int, convolutions: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(convolutions):
        convolution = nn.Conv2d(channels if i else in_channels, channels, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2, ceil_mode=True))
