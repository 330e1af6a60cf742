"""The severity tables of noise and blur, typed a second time from the published scripts for the three data sets."""

from __future__ import annotations

import pytest

from renorm.corruptions import blur, glass, noise

PUBLISHED = {
    "gaussian_noise": (
        noise.GAUSSIAN,
        {32: [0.04, 0.06, 0.08, 0.09, 0.1], 64: [0.04, 0.08, 0.12, 0.15, 0.18], 224: [0.08, 0.12, 0.18, 0.26, 0.38]},
    ),
    "shot_noise": (noise.SHOT, {32: [500, 250, 100, 75, 50], 64: [250, 100, 50, 30, 15], 224: [60, 25, 12, 5, 3]}),
    "impulse_noise": (
        noise.IMPULSE,
        {32: [0.01, 0.02, 0.03, 0.05, 0.07], 64: [0.01, 0.02, 0.05, 0.08, 0.14], 224: [0.03, 0.06, 0.09, 0.17, 0.27]},
    ),
    "speckle_noise": (
        noise.SPECKLE,
        {32: [0.06, 0.1, 0.12, 0.16, 0.2], 64: [0.15, 0.2, 0.25, 0.3, 0.35], 224: [0.15, 0.2, 0.35, 0.45, 0.6]},
    ),
    "defocus_blur": (
        blur.DEFOCUS,
        {
            32: [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
            64: [(0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)],
            224: [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)],
        },
    ),
    "glass_blur": (
        glass.GLASS,
        {
            32: [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)],
            64: [(0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)],
            224: [(0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)],
        },
    ),
    "motion_blur": (
        blur.MOTION,
        {
            32: [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)],
            64: [(10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)],
            224: [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)],
        },
    ),
    "zoom_blur": (
        blur.ZOOM,
        {
            32: [(1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)],
            64: [(1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)],
            224: [(1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)],
        },
    ),
    "gaussian_blur": (
        blur.GAUSSIAN,
        {32: [0.4, 0.6, 0.7, 0.8, 1], 64: [0.5, 0.75, 1, 1.25, 1.5], 224: [1, 2, 3, 4, 6]},
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_tables_are_the_published_ones(name: str):
    ours, published = PUBLISHED[name]
    assert {scale: list(row) for scale, row in ours.items()} == published
