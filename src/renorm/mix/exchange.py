"""Moment exchange at a named layer of any model, by hooks."""

from __future__ import annotations

import difflib
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from renorm.layers import Site
from renorm.mix.draws import Draw, Mixing, StepRandom, Weight, Within, draw_permutation, selected, step_random
from renorm.mix.switch import Settings, Switch, switches_of

NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm, Site)


class MomentExchange(Mixing):
    r"""Exchange moments between samples at a layer of a model, in training, without editing the model.

    .. math:: y_n = \sigma_{\pi(n)} \frac{x_n - \mu_n}{\sigma_n} + \mu_{\pi(n)}, \qquad
        L = \lambda \, l(y) + (1 - \lambda) \, l(y_\pi)

    Call it with each batch, which draws the step (partners, and whether to exchange), and for the loss, which mixes the labels
    alike. A draw serves every forward in training mode until its loss; in evaluation mode nothing is drawn, exchanged or
    mixed. On several ranks each draws its own. In a model with branches samples are exchanged within their branch, by the
    route that is open.

    A lone copy of the model, by deepcopy or pickle, has a dormant exchange of its own, see :meth:`of`. Make the exchange
    before compiling the model.

    Args:
        after: name of the layer whose output is exchanged.
        before: or of the layer whose first input is.
        over, groups, group_size, eps, positive_only, detach, channel_dim: see :func:`renorm.functional.exchange_moments`.
        weight: :math:`\lambda`, of a sample's own label.
        probability: of an exchange in a step, or of each sample's.
        per_sample: decide for every sample by itself; the loss then needs a criterion of ``reduction="none"``, or
            :meth:`probabilities`. As published, one decision serves the batch.
        across_branches: exchange between the branches of a model too.
        folded: where the layer sees several rows for each sample, time or patches folded into the batch, their order, as in
            :func:`renorm.route`; row t of a sample gets the moments of its donor's row t.

    Raises:
        ValueError: no such layer, a position inside a norm, an exchange that is there already, a compiled model, settings
            out of range.
        RuntimeError: in a forward or a loss: a layer called twice, another route, a step that was not drawn or not followed.

    Reference: Li, Wu, Lim, Belongie & Weinberger, *On feature normalization and data augmentation*, CVPR 2021.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(72, 5))
        >>> mix = renorm.MomentExchange(model, after="1", weight=0.9)
        >>> x, y = torch.randn(4, 3, 5, 5), torch.tensor([0, 1, 2, 3])
        >>> loss = mix.loss(torch.nn.functional.cross_entropy, model(mix(x)), y)
        >>> mix.remove()
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        after: str | None = None,
        before: str | None = None,
        over: str = "pono",
        groups: int | None = None,
        group_size: int | None = None,
        weight: float = 0.9,
        probability: float = 1.0,
        per_sample: bool = False,
        across_branches: bool = False,
        eps: float = 1e-5,
        positive_only: bool = False,
        detach: bool = False,
        channel_dim: int = 1,
        folded: str | None = None,
    ) -> None:
        self.settings = Settings(
            after, before, over, groups, group_size, weight, probability, per_sample, across_branches,
            eps, positive_only, detach, channel_dim, folded,
        )  # fmt: skip
        self.model = _inner(model)
        for _, switch in switches_of(self.model):
            raise ValueError(
                f"the model has an exchange {switch.settings.position} already. A step is drawn for one. "
                f"Remove it first: renorm.MomentExchange.of(model).remove()."
            )
        layer = _layer(self.model, self.settings.layer)
        self._switch = Switch(self.settings)
        self.model.register_forward_pre_hook(self._switch.begin)
        self.model.register_forward_hook(self._switch.end)
        if after is None:
            layer.register_forward_pre_hook(self._switch.before)
        else:
            layer.register_forward_hook(self._switch.after)

    @classmethod
    def of(cls, model: nn.Module) -> MomentExchange:
        """The exchange of a model, of a copy too.

        Raises:
            ValueError: it has none.
        """
        for root, switch in switches_of(model):
            found = cls.__new__(cls)
            found.settings, found.model, found._switch = switch.settings, root, switch
            return found
        raise ValueError(
            f"{type(model).__name__} has no exchange. It is in a model's hooks, which copies take along. "
            f"Make one: renorm.MomentExchange(model, after=...)."
        )

    @property
    def training(self) -> bool:
        """Whether the model trains."""
        return self.model.training

    def sample(self, x: Tensor, generator: torch.Generator | None = None, groups: Tensor | None = None) -> Draw:
        """Draw partners, and who exchanges, for a batch of ``len(x)`` samples, and change nothing."""
        random, within = step_random(generator), self.within() if groups is None else None
        permutation = draw_permutation(x, random, within, groups)
        donors, moments = self.decide(permutation, random)
        return Draw(permutation, donors, moments, within=within)

    def within(self) -> Within | None:
        """The route and selection that partners are kept in, if there are branches."""
        return None if self.settings.across_branches else selected(self.model)

    def decide(self, permutation: Tensor, random: StepRandom) -> tuple[Tensor | None, Weight]:
        """Donors and weights of the step, by one decision for all samples, or one for each."""
        own, p = self.settings.weight, self.settings.probability
        if not self.settings.per_sample:
            return (permutation, own) if random.scalars.random() < p else (None, 1.0)
        chosen = (torch.rand(len(permutation), generator=random.tensors) < p).to(permutation.device)
        donors = torch.where(chosen, permutation, torch.arange(len(permutation), device=permutation.device))
        return donors, torch.where(chosen, own, 1.0)

    def use(self, draw: Draw | None) -> None:
        """Make the next forwards, until their loss, follow a draw; ``None`` is none."""
        if not any(getattr(hook, "__self__", None) is self._switch for hook in self.model._forward_pre_hooks.values()):
            raise RuntimeError(
                f"the exchange {self.settings.position} was removed. A draw needs its hooks. Make another exchange."
            )
        self.draw, switch = draw, self._switch
        switch.training, switch.reached, switch.draw = self.model.training, False, draw

    def apply(self, x: Tensor, draw: Draw) -> Tensor:
        """The batch as it is: moments are exchanged inside the model."""
        return x

    def remove(self) -> None:
        """Remove the exchange from the model, without a trace."""
        for module in self.model.modules():
            for hooks in (module._forward_hooks, module._forward_pre_hooks):
                for key in [key for key, hook in hooks.items() if getattr(hook, "__self__", None) is self._switch]:
                    del hooks[key]
        self.draw, self._switch.draw = None, None

    def finish(self) -> Draw | None:
        """End the forwards of the step: what was drawn, after a check that they followed it."""
        draw, switch = super().finish(), self._switch
        if draw is not None and draw.donors is not None and not switch.reached:
            raise RuntimeError(
                f"the newest forward did not exchange moments {self.settings.position}, as its step was drawn to. Labels are "
                f"mixed as features were. Call this very model after x = mix(x), so that it passes that layer; make the exchange "
                f"before compiling; for a second forward and loss of a step call mix.use(mix.draw)."
            )
        switch.draw = None
        return draw

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "draw": None}

    def __repr__(self) -> str:
        given = {key: value for key, value in asdict(self.settings).items() if value not in (None, False)}
        return f"MomentExchange({', '.join(f'{key}={value!r}' for key, value in given.items())})"


def _inner(model: nn.Module) -> nn.Module:
    """The module that a parallel wrapper calls."""
    if isinstance(model, nn.parallel.DistributedDataParallel):
        return model.module
    if isinstance(model, nn.DataParallel):
        raise ValueError(
            "a model wrapped in DataParallel was given. It divides a batch among threads, and partners with it. "
            "Use DistributedDataParallel."
        )
    if hasattr(model, "_orig_mod") or model._compiled_call_impl is not None:
        raise ValueError(
            "a compiled model was given. What was compiled may not see an exchange that is made later. "
            "Make the exchange first, then compile the model."
        )
    return model


def _layer(model: nn.Module, name: str) -> nn.Module:
    """A layer by name, if it can be a position."""
    modules = dict(model.named_modules(remove_duplicate=False))
    if not name or name not in modules:
        close = difflib.get_close_matches(name, modules, n=3, cutoff=0.5)
        top = [child for child, _ in model.named_children()]
        raise ValueError(
            f"{name!r} is not a layer of {type(model).__name__}. An exchange needs the name of one. "
            + (f"Did you mean {' or '.join(map(repr, close))}?" if close else f"Its outermost layers are {top}.")
        )
    for norm, module in modules.items():
        if norm and name.startswith(f"{norm}.") and _is_norm(module):
            raise ValueError(
                f"{name!r} is inside the norm {norm!r} ({type(module).__name__}), which calls it as it sees fit. An exchange "
                f"needs a layer of its own. Use before={norm!r}, or after={norm!r}, which is after its activation too."
            )
    return modules[name]


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, NORMS) or "running_mean" in module._buffers
