"""The images and the network of the tests of evaluating."""

from tests.evaluate.conftest import images, subject

__all__ = ["images", "subject"]
