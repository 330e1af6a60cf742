"""Elastic deformation."""

import torch
from torch import Tensor
from torch.nn import functional

from renorm.corruptions.blur import smooth
from renorm.corruptions.random import PerImage

# Published severity tables of Hendrycks & Dietterich, 2019, in sides of the image: height and smoothness of the random
# displacement, and how far the affine map moves its three points.
ELASTIC = {
    32: ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    64: ((0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)),
    224: ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)),
}
SIDE = {32: 1, 64: 1, 224: 244 / 224}  # the published constants for 224 pixels are multiples of 244
TRUNCATE = 3.0  # standard deviations


def elastic_transform(x: Tensor, severity: int, draw: PerImage, scale: int) -> Tensor:
    """Move three points at random and the plane with them, then each pixel by a smooth random displacement.

    Both read between pixels bilinearly and reflect at the border. Lengths are proportional to the shorter side.
    Shape: ``(N, 3, H, W)``, kept.
    """
    side = min(x.shape[-2:]) * SIDE[scale]
    amplitude, sigma, reach = (side * constant for constant in ELASTIC[scale][severity - 1])
    moved = _warp_affine(x, draw.uniform((3, 2), -reach, reach))
    if amplitude > 0:
        noise = draw.uniform((2, *x.shape[-2:]), -1, 1)
        moved = _displace(moved, smooth(noise, sigma, "reflect", TRUNCATE).mul_(amplitude))
    return moved.clamp_(0, 1)


def _warp_affine(x: Tensor, shifts: Tensor) -> Tensor:
    r"""Move the points c + q, c + (q, -q) and c - q, c the centre and q a third of the side, by ``shifts`` (x, y).

    The pixel at p shows what was at :math:`L^{-1} (p - c + q - s_2) + c - q`, where L takes the sides of the points'
    triangle to those of the moved one.
    """
    height, width = x.shape[-2:]
    third = min(height, width) // 3
    first, second, last = shifts.unbind(1)
    (a, c), (b, d) = (((move / (2 * third)).unbind(1)) for move in (second - last, first - second))
    a, d = a + 1, d + 1
    determinant = a * d - b * c
    inverse = torch.where(determinant == 0, 0, 1 / determinant).view(-1, 1, 1)
    a, b, c, d = (element.view(-1, 1, 1) * inverse for element in (a, b, c, d))
    left, top = (side // 2 - third for side in (width, height))
    across = torch.arange(width, device=x.device) - left - last[:, 0].view(-1, 1, 1)
    down = torch.arange(height, device=x.device).view(-1, 1) - top - last[:, 1].view(-1, 1, 1)
    origin = torch.stack((d * across + left, top - c * across), 1) + torch.stack((-b * down, a * down), 1)
    grid = origin.mul_(2 / (_size(x) - 1)).sub_(1)
    return functional.grid_sample(x, grid.permute(0, 2, 3, 1), padding_mode="reflection", align_corners=True)


def _displace(x: Tensor, displacement: Tensor) -> Tensor:
    """Read each pixel at its place plus ``displacement`` ``(N, 2, H, W)``: across, down."""
    height, width = x.shape[-2:]
    across = (torch.arange(width, device=x.device) + 0.5).expand(height, -1)
    down = (torch.arange(height, device=x.device) + 0.5).view(-1, 1).expand(-1, width)
    grid = (displacement + torch.stack((across, down))).mul_(2 / _size(x)).sub_(1)
    return functional.grid_sample(x, grid.permute(0, 2, 3, 1), padding_mode="reflection", align_corners=False)


def _size(x: Tensor) -> Tensor:
    return torch.tensor(x.shape[:-3:-1], device=x.device).view(2, 1, 1)
