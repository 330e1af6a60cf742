"""What a model normalizes with for some time: one of its branches, or a bank in its place."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from torch import nn

from renorm.banks.bank import Bank
from renorm.banks.install import using
from renorm.routing import through


@dataclass(frozen=True)
class Choice:
    """What to evaluate with: a branch of the model, a bank in its place, or (neither) the plain model as it is.

    Args:
        branch: The model's.
        bank: In the branch's place.
        made: How the bank was made, in words.
    """

    branch: str | None = None
    bank: Bank | None = None
    made: str = ""

    @contextmanager
    def used(self, model: nn.Module) -> Iterator[None]:
        """Make the model's forwards inside use this choice."""
        with ExitStack() as stack:
            if self.bank is not None:
                stack.enter_context(using(model, self.bank, branch=self.branch))
            if self.branch is not None:
                stack.enter_context(through(model, self.branch))
            yield
