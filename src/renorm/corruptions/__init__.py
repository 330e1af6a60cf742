"""The 19 common corruptions in five severities, with the published tables for 32, 64 and 224 pixels.

The pixels of an image depend on its seed, the corruption and the severity only: not on the batch it comes in, the
order or the number of workers.

Reference: Hendrycks & Dietterich, *Benchmarking Neural Network Robustness to Common Corruptions and Perturbations*,
ICLR 2019.
"""

from renorm.corruptions.corrupt import (
    CORRUPTIONS,
    GROUPS,
    HELD_OUT,
    SCALES,
    SEVERITIES,
    STANDARD,
    corrupt,
    nearest_scale,
)

__all__ = [
    "CORRUPTIONS",
    "GROUPS",
    "HELD_OUT",
    "SCALES",
    "SEVERITIES",
    "STANDARD",
    "corrupt",
    "nearest_scale",
]
