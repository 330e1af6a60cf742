"""Networks without running statistics: what the head reads is centred on the images seen."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from renorm.adapt.evidence import Evidence
from renorm.adapt.reference import distance, times_chance
from renorm.adapt.verdict import Verdict
from renorm.banks import (
    Bank,
    Forward,
    Installation,
    Samples,
    Statistics,
    call,
    check_all_finite,
    counted,
    exclusive,
    fingerprint,
    nothing,
    observed,
    unwrap,
)


class Recentring(Installation):
    """What :func:`recenter_` did.

    Attributes:
        head: the name of the layer whose bias has moved.
        bank: of the features it was moved by: mean and variance over images, under the head's name.
        verdict: ``"home"`` or ``"shifted"`` against a reference; ``None`` without one, as such a model keeps no statistics.
        reason: the verdict in a sentence.
    """

    def __init__(self, model: nn.Module, head: str, bank: Bank) -> None:
        super().__init__(model, None)
        self.head, self.bank = head, bank
        self.verdict: Verdict | None = None
        self.reason = "without a reference nothing tells whether these images are shifted"

    def _memories(self) -> set[int]:
        return {p.untyped_storage().data_ptr() for p in unwrap(self._model).get_submodule(self.head).parameters()}

    def __repr__(self) -> str:
        state = f"by {self.bank.samples} images" if self._saved else "not moved"
        return f"recentring of {self.head!r}, {state}: {self.reason}"


def recenter_(
    model: nn.Module,
    images: Any,
    head: str | None = None,
    *,
    reference: Any = None,
    forward: Forward | None = None,
    samples: Samples = None,
) -> Recentring:
    r"""Let a model's head read its features less their mean over a few unlabelled images, for norms of single images.

    .. math:: z = W (h - c) + b, \qquad c = \operatorname{mean}_n h_n, \qquad \text{which is } b \leftarrow b - W c

    with h what the head, the last linear layer, is given. Layer and group norms keep no statistics of a population, so
    :func:`renorm.adapt_` has nothing to move in a ViT or ConvNeXt; this moves their head's bias instead. With a reference
    of mean :math:`c_r` only the difference counts, :math:`b \leftarrow b - W (c - c_r)`, and nothing moves where that may be
    chance.

    Args:
        images: one batch, as the model takes it, or a bank of an earlier recentring.
        head: its name; by default the linear layer whose output is the model's.
        reference: images of the normal condition, or the bank of an earlier recentring by such.
        forward: ``forward(model, images)`` for images of another form.
        samples: how many images there are, or a function of them that says so; counted by default, as in :func:`adapt_`.

    Raises:
        ValueError: no such head, one without a bias, no image, numbers that are not finite, a bank of other weights. The
            model is unchanged.

    Reference: NEO, ICLR 2026, without a reference; with one, the shift of activations of Niu et al., *Test-time model adaptation
    with only forward passes* (FOA), ICML 2024.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LayerNorm(12), torch.nn.Linear(12, 3))
        >>> report = renorm.recenter_(model, torch.randn(32, 3, 2, 2))
        >>> report.head
        '2'
        >>> report.undo()
    """
    with exclusive(model):
        seen = _bank(model, images, head, forward, samples)
        (name, features), *_ = seen.sites.items()
        layer = _layer(model, name)
        report = Recentring(model, name, seen)
        center = features.mean
        if reference is not None:
            usual = _bank(model, reference, name, forward, samples if callable(samples) else None)
            center = center - usual.sites[name].mean
            evidence = _compared(name, seen, usual)
            moved = evidence.weight != 1
            report.verdict = "shifted" if moved else "home"
            report.reason = _reason(evidence, moved=moved)
        if report.verdict != "home":
            moved_bias = layer.bias.detach() - layer.weight.detach() @ center.to(layer.weight)
            report.write(layer.bias, moved_bias)
    return report


def _reason(evidence: Evidence, *, moved: bool) -> str:
    if not moved:
        return f"the head's features of {evidence.samples} images are no farther from the reference's than by chance"
    far, times = distance(evidence), times_chance(evidence)
    return (
        f"the head's features are {far:.2g} sd from the reference's, {times:.2g} times as far as chance alone puts them"
    )


def _compared(name: str, seen: Bank, usual: Bank) -> Evidence:
    """How far features are from a reference's, by both samples' noise."""
    a, b = seen.sites[name], usual.sites[name]
    scale = b.var.clamp(min=1e-12)
    gap = ((a.mean - b.mean).square() / scale).mean()
    noise = ((a.var / (seen.samples or 1) + b.var / (usual.samples or 1)) / scale).mean()
    return Evidence((name,), gap[None], noise[None], seen.samples or 1)


def _bank(model: nn.Module, given: Any, head: str | None, forward: Forward | None, samples: Samples) -> Bank:
    """The head's features as a bank: one that was given, if it is of this model, or of images."""
    if not isinstance(given, Bank):
        return measured(model, counted(given, samples, whole=forward is not None), head, forward=forward)
    names = list(given.sites)
    if len(names) != 1 or (head is not None and names != [head]) or not given.samples:
        raise ValueError(
            f"{given!r} was given, of the sites {names[:3]}. Re-centring takes a bank of the head alone. Use the .bank of a "
            f"recentring, or pass images."
        )
    if given.weights and given.weights != fingerprint(model):
        raise ValueError(
            f"{given!r} was measured on a model with other weights. Its features would be others. Undo what has moved the model "
            f"since, or measure again by recenter_(model, images)."
        )
    return given


def measured(model: nn.Module, images: Any, head: str | None = None, *, forward: Forward | None = None) -> Bank:
    """Mean and variance over images of what a model's head is given, in one forward that changes nothing.

    A head that sees several rows of an image, as tokens, counts their mean.
    """
    images = counted(images, whole=forward is not None)
    samples = images.samples
    if not samples:
        raise ValueError("no image was given. Re-centring needs at least one. Check the folder or the loader.")
    name, inputs = _given_to(model, images, head, forward)
    x = inputs.float().flatten(0, -2).unflatten(0, (samples, -1)).mean(1)
    var = x.var(0) if samples > 1 else torch.zeros_like(x[0])
    statistics = Statistics(x.mean(0), var, samples)
    check_all_finite({name: statistics})
    data = f"features of {samples} images before {name!r}"
    return Bank({name: statistics}, samples, data=data, weights=fingerprint(model))


def _given_to(model: nn.Module, images: Any, head: str | None, forward: Forward | None) -> tuple[str, Tensor]:
    """The head, and its input."""
    inner = unwrap(model)
    layers = {name: m for name, m in inner.named_modules() if isinstance(m, nn.Linear) and head in (None, name)}
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    handles = [
        m.register_forward_hook(lambda _, args, output, name=name: seen.update({name: (args[0], output)}))
        for name, m in layers.items()
    ]
    try:
        with observed(model, {}, None, nothing):
            output = call(model, images, forward)
    finally:
        for handle in handles:
            handle.remove()
    if head is not None and head in seen:
        return head, seen[head][0]
    for name, (given, own) in reversed(seen.items()):
        if (
            isinstance(output, Tensor)
            and own.shape == output.shape
            and torch.equal(own.nan_to_num(), output.nan_to_num())
        ):
            return name, given
    wanted = f"no linear layer {head!r} was reached" if head else "no linear layer gives the model's output"
    raise ValueError(
        f"{wanted} of {type(inner).__name__}; it has {list(layers)[-3:] or 'none'}. The head is the layer whose output are the "
        f"classes. Name it: recenter_(model, images, head='...')."
    )


def _layer(model: nn.Module, name: str) -> nn.Linear:
    layer = unwrap(model).get_submodule(name)
    assert isinstance(layer, nn.Linear)
    if layer.bias is None:
        raise ValueError(
            f"the head {name!r} has no bias, which is what re-centring moves. Give it one of zeros: "
            f"model.get_submodule({name!r}).bias = torch.nn.Parameter(torch.zeros({layer.out_features}))."
        )
    return layer
