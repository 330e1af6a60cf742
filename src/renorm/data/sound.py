"""Images that can be read, of those that are there."""

from __future__ import annotations

from dataclasses import replace

from renorm.data.decode import Encoded, decode
from renorm.data.images import Images
from renorm.notice import notice
from renorm.progress import told


def sound(images: Images) -> Images:
    """The images that can be read; how many cannot is said, and of the first why.

    Raises:
        ValueError: none can.
    """
    pixels = images.pixels
    if not isinstance(pixels, Encoded):
        return images
    good, reasons = [], []
    for i, number in enumerate(told(pixels.order.tolist(), f"trying {images.name}", len(images))):
        try:
            decode(pixels.blobs, number)
        except ValueError as error:
            reasons.append(str(error))
        else:
            good.append(i)
    if not good:
        raise ValueError(f"none of the {len(images)} images of {images.name} can be read. The first: {reasons[0]}")
    if not reasons:
        return images
    left_out = f"{len(reasons):,} of the {len(images):,} images of {images.name} cannot be read and were left out"
    notice(f"{left_out}. The first: {reasons[0]}")
    return replace(images.subset(good), origin=images.origin)
