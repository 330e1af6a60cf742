"""Tensors here are as tiny as those of banks."""

from tests.banks.conftest import one_thread

__all__ = ["one_thread"]
