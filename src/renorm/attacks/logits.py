"""A model as an attack uses it: through one branch, without changing anything of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from renorm.banks import resolve
from renorm.routing import route_of, through

Mode = Literal["eval", "train"]
Logits = Callable[[Tensor], Tensor]
Normalize = Callable[[Tensor], Tensor]
PARALLEL = (nn.parallel.DistributedDataParallel, nn.DataParallel)


@contextmanager
def logits_of(model: nn.Module, branch: str | None, normalize: Normalize | None, mode: Mode) -> Iterator[Logits]:
    """Give the model's logits, in at least float32, as a function of images that can be differentiated.

    Every module's mode and every parameter's ``requires_grad`` are given back, also after an error; gradients are nobody's
    but the image's. Parallel wrappers are passed by, as an attack is each process's own affair; compiled code stays.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"a model of type {type(model).__name__} was given. An attack needs a torch.nn.Module, whose modes and gradients it "
            f"gives back. Wrap a function in one."
        )
    if normalize is not None and not callable(normalize):
        raise TypeError(
            f"normalize={normalize!r} was given. An attack needs a function from images in [0, 1] to the model's input. "
            f"Pass lambda x: (x - mean) / std."
        )
    inner = alone(model)
    modes = [(module, module.training) for module in inner.modules()]
    trained = [parameter for parameter in inner.parameters() if parameter.requires_grad]
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        _enter_route(stack, inner, branch, mode)
        try:
            if mode == "eval":
                for module, _ in modes:
                    module.training = False
            for parameter in trained:
                parameter.requires_grad = False
            yield lambda images: _checked(inner(images if normalize is None else normalize(images)), images)
        finally:
            for module, training in modes:
                module.training = training
            for parameter in trained:
                parameter.requires_grad = True


def alone(model: nn.Module) -> nn.Module:
    """The model without parallel wrappers, compiled if it was inside them."""
    while isinstance(model, PARALLEL):
        model = model.module
    inside = getattr(model, "_orig_mod", None)
    return alone(inside) if isinstance(inside, PARALLEL) else model


def _enter_route(stack: ExitStack, model: nn.Module, branch: str | None, mode: Mode) -> None:
    """Open the branch's route; without a name the open or lasting one, of whatever form, is followed."""
    found = route_of(model)
    if branch is None and found is not None and found.selected(training=mode == "train"):
        return
    meant = resolve(model, branch)
    if isinstance(meant, str):  # no mapping is asked for; a plain model has none
        stack.enter_context(through(model, meant))


def _checked(logits: Tensor, images: Tensor) -> Tensor:
    """Logits in at least float32, if they depend on the images."""
    if not isinstance(logits, Tensor):
        raise TypeError(
            f"the model returned a {type(logits).__name__}. An attack needs one tensor of logits. Wrap the model in a module "
            f"that returns it."
        )
    if images.requires_grad and not logits.requires_grad:
        raise ValueError(
            "the model's output has no gradient. An attack follows it to the image. Look for "
            "torch.no_grad or detach in its forward."
        )
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
