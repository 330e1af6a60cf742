"""Test-time entropy minimization: the one companion that follows gradients."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from renorm.adapt.claims import noted
from renorm.adapt.prediction import prediction_time
from renorm.banks import (
    Branch,
    Counted,
    Forward,
    Samples,
    SiteTensors,
    call,
    check_one_batch,
    counted,
    evaluating,
    exclusive,
    of_other_kinds,
    resolve,
    sharded,
    site_tensors,
    without,
)


class Tent:
    r"""A model whose affine parameters follow the images it is given, towards certain predictions.

    .. math:: \gamma, \beta \leftarrow \operatorname{Adam}\Big(\nabla_{\gamma, \beta} \; \frac1N \sum_n H_n\Big),
        \qquad H_n = -\sum_k p_{nk} \log p_{nk}, \quad p_n = \operatorname{softmax}(z_n)

    A call normalizes by the batch (:func:`renorm.prediction_time`), takes one step on the scales and biases of all sites, and
    returns the logits z of before the step, as published. Statistics and all other weights stay as they are; dropout is off.
    Between calls only the scales and biases differ from the source.

    Sites that the last batch did not reach, as the model's evaluation leaves them out, are listed as ``unreached``.

    Steps add up: on a long stream, small or sorted batches can end in one class for every image. :meth:`reset` is the way back.

    Args:
        rate: of Adam, without weight decay.
        branch: whose statistics' sites, under its route: by default the active route's, else the only one. What branches share
            moves for all; of a sandwich the branch's own factor moves.
        betas: of Adam.
        forward: ``forward(model, images)`` that returns the logits, for images or outputs of another form.
        samples: how many images a batch has, or a function of it that says so; counted by default, as in :func:`adapt_`.
        strict: refuse batches that do not reach every site.

    Raises:
        ValueError: a model without running statistics or without affine parameters, parameters of a half type; from a call:
            no image, NaN or infinity, a single value per channel. Nothing is changed then.
        TypeError: from a call: an output that is no tensor ``(N, K, *)`` of logits.
        RuntimeError: from a call: closed already, another thread at the model, no site that was reached.

    Reference: Wang, Shelhamer, Liu, Olshausen & Darrell, *Tent: fully test-time adaptation by entropy minimization*, ICLR 2021.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4), torch.nn.Flatten())
        >>> with renorm.Tent(model) as tent:
        ...     logits = tent(torch.randn(8, 3, 5, 5))
        ...     tent
        Tent over 1 site and 2 parameters, 1 step
    """

    def __init__(
        self,
        model: nn.Module,
        rate: float = 1e-3,
        branch: Branch = None,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        forward: Forward | None = None,
        samples: Samples = None,
        strict: bool = False,
    ) -> None:
        if not 0 < rate < float("inf"):
            raise ValueError(f"rate={rate} was given. A step has a positive, finite length. Use 1e-3, as published.")
        self.model, self.branch, self.steps = model, resolve(model, branch), 0
        self._rate, self._betas, self._forward = rate, betas, forward
        self._samples, self._strict = samples, strict
        sites = site_tensors(model, self.branch)
        self._num_sites = len(sites)
        self._names, self._parameters = _affines(sites)
        self._source = [p.detach().clone() for p in self._parameters]
        self._present = self._source
        self.unreached: tuple[str, ...] = ()
        self._optimizer: torch.optim.Adam | None = self._fresh()

    def __call__(self, images: Any) -> Tensor:
        """The logits of a batch, and one step on its entropy."""
        if self._optimizer is None:
            raise RuntimeError(f"{self!r} was called. The model has been given back. Make another: renorm.Tent(model).")
        if self._samples is None:  # else the user knows what it is
            check_one_batch(images, "Tent, one at a time")
        images = counted(images, self._samples, whole=self._forward is not None)
        _check_images(images)
        images = tree_map_only(Tensor, lambda t: t.clone() if t.is_inference() else t, images)
        with exclusive(self.model), torch.inference_mode(False), torch.enable_grad():
            with (
                evaluating(self.model),
                _tracking(self.model, self._parameters),
                prediction_time(self.model, branch=self.branch),
            ):
                logits = _checked(call(self.model, images, self._forward))
                loss = entropy(logits)
                gradients = torch.autograd.grad(loss, self._parameters, allow_unused=True)
            self._check(loss, gradients)
            self._step(self._optimizer, gradients)
        return logits.detach()

    def reset(self) -> None:
        """Go back to the source bit for bit, and forget the steps.

        Raises:
            RuntimeError: the parameters are no longer those of the last step: something else moved or loaded them.
        """
        with exclusive(self.model), torch.inference_mode(False), torch.no_grad():
            if not all(torch.equal(p, v.to(p.device)) for p, v in zip(self._parameters, self._present, strict=True)):
                raise RuntimeError(
                    f"the scales and biases have changed since: {self!r}. Going back would lose that change, or mix two models. "
                    f"Undo the later change first, or load the weights you want and make another Tent."
                )
            for parameter, value in zip(self._parameters, self._source, strict=True):
                parameter.copy_(value)
            self._present, self._optimizer, self.steps = self._source, self._fresh(), 0

    def close(self) -> None:
        """Give the source model back bit for bit. A second call does nothing more."""
        if self._optimizer is not None:
            self.reset()
            self._optimizer = None

    def __enter__(self) -> Tent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with noted(error):
            self.close()

    def __repr__(self) -> str:
        sites, steps = (
            f"{n} {word}{'s' if n != 1 else ''}" for n, word in ((self._num_sites, "site"), (self.steps, "step"))
        )
        left = without(self.unreached, others=of_other_kinds(self.model))
        state = steps if self._optimizer is not None else "closed"
        return f"Tent over {sites} and {len(self._parameters)} parameters{left}, {state}"

    def _fresh(self) -> torch.optim.Adam:
        return torch.optim.Adam(self._parameters, lr=self._rate, betas=self._betas)

    def _check(self, loss: Tensor, gradients: tuple[Tensor | None, ...]) -> None:
        missing = [name for name, g in zip(self._names, gradients, strict=True) if g is None]
        if len(missing) == len(gradients):
            raise RuntimeError(
                f"none of the {len(missing)} scales and biases was reached by the images, {missing[0]!r} for one. They would "
                f"stay as they are unnoticed. Call the model as a whole, or pass forward= that does."
            )
        lost = tuple(dict.fromkeys(name.rpartition(".")[0] for name in missing))
        if lost and self._strict:
            raise ValueError(
                f"{len(lost)} of {self._num_sites} sites were not reached by the images, {lost[0]!r} first. Their scales and "
                f"biases would stay as they are. Call the model as a whole, or pass forward= that does; or leave strict out."
            )
        self.unreached = lost
        if not torch.stack([loss.detach(), *(g.sum() for g in gradients if g is not None)]).isfinite().all():
            raise ValueError(
                "the entropy or its gradient is not finite. A step would break the model. Look for NaN in the weights, or for "
                "logits that are infinite."
            )

    def _step(self, optimizer: torch.optim.Adam, gradients: tuple[Tensor | None, ...]) -> None:
        """One step of Adam, all or nothing; gradients that others keep at the parameters stay there."""
        former, state = [p.grad for p in self._parameters], copy.deepcopy(optimizer.state_dict())
        try:
            for parameter, gradient in zip(self._parameters, gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
            self._present = [p.detach().clone() for p in self._parameters]
        except BaseException:
            with torch.no_grad():
                for parameter, value in zip(self._parameters, self._present, strict=True):
                    parameter.copy_(value)
            optimizer.load_state_dict(state)
            raise
        finally:
            for parameter, gradient in zip(self._parameters, former, strict=True):
                parameter.grad = gradient
        self.steps += 1


def entropy(logits: Tensor) -> Tensor:
    r"""Mean entropy of predictions, :math:`-\sum_k p_k \log p_k`, in nats. Shape: ``(N, K, *)`` to a scalar.

    Example:
        >>> entropy(torch.zeros(3, 2))
        tensor(0.6931)
    """
    log = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(1)
    return -(log.exp() * log).sum(1).mean()


def _affines(sites: dict[str, SiteTensors]) -> tuple[list[str], list[nn.Parameter]]:
    """The scales and biases of sites by name, each once."""
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for name, site in sites.items():
        for key, parameter in site.parameters().items():
            found.setdefault(id(parameter), (f"{name}.{key}", parameter))
    if not found:
        raise ValueError(
            f"none of the {len(sites)} sites has a scale or bias. Minimizing the entropy needs such parameters to move. Use a "
            f"model whose norms are affine=True, or renorm.adapt_."
        )
    if parts := [name for name, p in found.values() if sharded(p)]:
        raise ValueError(
            f"{parts[0]} is sharded over ranks. A step follows gradients of whole parameters. Use renorm.adapt_ or "
            f"renorm.Adapter, which move statistics alone, or a model that is not sharded."
        )
    narrow = next(
        (f"{name} is {p.dtype}" for name, p in found.values() if p.dtype not in (torch.float32, torch.float64)), None
    )
    if narrow:
        raise ValueError(
            f"{narrow}. A step of 1e-3 is lost in the rounding of that type. Keep the norms in float32 and run under "
            f"torch.autocast, or call model.float()."
        )
    return [name for name, _ in found.values()], [parameter for _, parameter in found.values()]


@contextmanager
def _tracking(model: nn.Module, parameters: list[nn.Parameter]) -> Iterator[None]:
    """Gradients for these parameters and no others; each as it was at the end."""
    flags = [(p, p.requires_grad) for p in model.parameters()]
    try:
        for parameter, _ in flags:
            parameter.requires_grad = False
        for parameter in parameters:
            parameter.requires_grad = True
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad = flag


def _check_images(images: Counted) -> None:
    if images.samples == 0:
        raise ValueError("no image was given. A step needs at least one. Check the loader. Nothing was changed.")
    if not all(t.isfinite().all() for t in tree_leaves(images) if isinstance(t, Tensor) and t.is_floating_point()):
        raise ValueError(
            "the images hold NaN or infinity. Every later prediction would be NaN too. Drop such images before the call. "
            "Nothing was changed."
        )


def _checked(logits: Any) -> Tensor:
    if not isinstance(logits, Tensor) or logits.ndim < 2 or logits.shape[1] < 2:
        what = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"type {type(logits).__name__}"
        raise TypeError(
            f"the model returned an output of {what}. Entropy is of logits (N, K, *) over K >= 2 classes. "
            f"Pass forward=lambda model, images: ... that returns them."
        )
    return logits
