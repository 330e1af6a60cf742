"""The images and the network of the tests of evaluating."""

from tests.evaluate.conftest import classifier, images

__all__ = ["classifier", "images"]
