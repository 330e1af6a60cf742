"""The mix that a configuration asks for: published settings and positions, and what each step draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from renorm.banks import evaluating
from renorm.data import SMALL
from renorm.mix import CutMix, Mix, Mixup, MomentExchange
from renorm.recipes.options import option
from renorm.seeds import stable_seed

if TYPE_CHECKING:
    from renorm.recipes.classify.config import Config
    from renorm.recipes.classify.mix_options import Exchange, ImageMix, MixOptions

Stacking = tuple[str, ...] | Mapping[str, int]  # interleaved branches, or blocks of them


class Usual(NamedTuple):
    """Published settings for images of some size.

    Args:
        weight: Of a sample's own label where moments are exchanged.
        probability: Of a step that exchanges.
        beside_cutmix: The same, together with CutMix.
        cutmix: Probability of a step with CutMix.
        alpha: Of Mixup.
    """

    weight: float
    probability: float
    beside_cutmix: float
    cutmix: float
    alpha: float


# Exchange: the scripts of Li et al., CVPR 2021, PyramidNet-200 on CIFAR (which have it without CutMix) and ResNet-50 on
# ImageNet. CutMix: Yun et al., ICCV 2019. Mixup: Zhang et al., ICLR 2018.
CIFAR = Usual(weight=0.5, probability=0.25, beside_cutmix=0.25, cutmix=0.5, alpha=1.0)
IMAGENET = Usual(weight=0.9, probability=1.0, beside_cutmix=0.25, cutmix=1.0, alpha=0.2)

# Names that a model has, and where its stem ends: as published for the first two, the same place for the others.
POSITIONS: tuple[tuple[tuple[str, ...], dict[str, str]], ...] = (
    (("maxpool", "layer1"), {"after": "maxpool"}),  # ResNets
    (("features.pool0",), {"after": "features.pool0"}),  # DenseNets
    (("layer1",), {"before": "layer1"}),  # networks for small images
    (("conv1", "features"), {"before": "features"}),  # DenseNets for small images
    (("conv_stem", "blocks"), {"before": "blocks"}),  # timm's EfficientNets and MobileNets
    (("stem", "s1"), {"before": "s1"}),  # timm's RegNets
    (("stem", "trunk_output"), {"before": "trunk_output"}),  # torchvision's
    (
        ("features.0.0",),
        {"after": "features.0"},
    ),  # torchvision's EfficientNets and MobileNets; the first stage of our VGG
)


def mix_of(config: Config, model: nn.Module, size: int) -> Mix | None:
    """The mix of a configuration, on a model for images of a size; the exchange is made in the model and tried once.

    Raises:
        ValueError: No position is known for the model, there is no such layer, a number is out of its range, or the features
            there cannot be exchanged so.
    """
    if config.mix is None:
        return None
    usual = CIFAR if size <= SMALL else IMAGENET
    exchange = exchange_of(config.mix, model, config.network.model, usual) if "exchange" in config.mix.kind else None
    if exchange is not None:
        exchange.settings.exchange(features_at(exchange, size), torch.tensor([1, 0]))
    return Mix(images_of(config.mix, usual), exchange, model=None if exchange else model)


def exchange_of(mix: MixOptions, model: nn.Module, name: str, usual: Usual) -> MomentExchange:
    """The exchange of a configuration, made in a model of some name."""
    how = mix.exchange
    named: Any = {"after": how.after, "before": how.before}
    if named == {"after": None, "before": None}:
        named = position_of(model, name)
    probability = usual.probability if mix.kind == "exchange" else usual.beside_cutmix
    return MomentExchange(
        model,
        **named,
        over=how.over or "pono",
        groups=how.groups,
        weight=_or(how.weight, usual.weight),
        probability=_or(how.probability, probability),
        channel_dim=how.channel_dim,
    )


def features_at(exchange: MomentExchange, size: int) -> Tensor:
    """What the layer of an exchange passes for two blank images, in evaluation mode, where nothing is exchanged."""
    model, found = exchange.model, list[Any]()
    layer = model.get_submodule(exchange.settings.layer)
    if exchange.settings.after is None:
        hook = layer.register_forward_pre_hook(lambda module, args: found.extend(args[:1]))
    else:
        hook = layer.register_forward_hook(lambda module, args, output: found.append(output))
    try:
        with evaluating(model), torch.no_grad():
            model(torch.zeros(2, 3, size, size, device=next(model.parameters()).device))
    finally:
        hook.remove()
    if not found or not isinstance(found[0], Tensor):
        raise ValueError(
            f"the images never pass {exchange.settings.layer!r} as one tensor: an exchange needs a layer that the forward calls "
            "so. Name another by --exchange-after or --exchange-before."
        )
    return found[0].cpu()


def images_of(mix: MixOptions, usual: Usual) -> CutMix | Mixup | None:
    """How a configuration mixes images."""
    if mix.kind == "exchange":
        return None
    if mix.kind == "mixup":
        return Mixup(_or(mix.image.beta, usual.alpha), _or(mix.image.probability, 1.0))
    return CutMix(_or(mix.image.beta, 1.0), _or(mix.image.probability, usual.cutmix))


def position_of(model: nn.Module, name: str) -> dict[str, str]:
    """Where the stem of a model ends, by the names of its layers.

    Raises:
        ValueError: None of the families that are known.
    """
    names = {layer for layer, _ in model.named_modules(remove_duplicate=False)}
    for needed, position in POSITIONS:
        if names.issuperset(needed):
            return position
    layers = [layer for layer, _ in model.named_children()]
    raise ValueError(
        f"an exchange in {name}: its place is known for ResNets, DenseNets and networks alike, and this one needs a name. Add "
        f"--exchange-after LAYER or --exchange-before LAYER, in or among {', '.join(layers)} (and --exchange-channel-dim -1 "
        "where the layer passes tokens, channels last)."
    )


def check_mix(config: Config) -> None:
    """Refuse options that would do nothing.

    Raises:
        ValueError: An option of an exchange without one, or of mixed images where none are.
    """
    if config.mix is not None and "exchange" not in config.mix.kind:
        _check_usual(config.mix.exchange, "exchange", config.mix.kind, "an exchange", "exchange")
    if config.mix is not None and config.mix.kind == "exchange":
        _check_usual(config.mix.image, "image", config.mix.kind, "mixed images", "cutmix")


def check_partners(config: Config, processes: int) -> None:
    """Refuse steps in which nobody has a partner.

    Raises:
        ValueError: A forward of a single image of each branch.
    """
    accumulate = config.optimization.accumulate
    alone = config.examples // (accumulate * processes) < 2
    if config.mix is not None and alone and not (config.mix.across and len(config.branches) > 1):
        raise ValueError(
            f"--mix {config.mix.kind} with {config.examples} images in a step, {accumulate} forwards on {processes} "
            f"process{'es' * (processes > 1)}: a partner needs a second image in each. Use --batch "
            f"{2 * len(config.branches) * accumulate * processes} or more."
        )


def generator_of(seed: int, place: tuple[int, int]) -> torch.Generator:
    """The random numbers of a step, the same whenever it is trained; a mix joins them with the rank."""
    return torch.Generator().manual_seed(stable_seed(seed, "mix", *place))


def per_row(values: Tensor, spec: Stacking) -> Tensor:
    """Values of images for all rows of their stacked views. Shape: ``(N,)`` to ``(K * N,)``."""
    return values.repeat(len(spec)) if isinstance(spec, Mapping) else values.repeat_interleave(len(spec))


def branch_per_row(x: Tensor, spec: Stacking) -> Tensor:
    """The number of the branch of each row of a stacked batch. Shape: ``(K * N, *)`` to ``(K * N,)``."""
    branches, num_images = torch.arange(len(spec)), len(x) // len(spec)
    return branches.repeat_interleave(num_images) if isinstance(spec, Mapping) else branches.repeat(num_images)


def own_share(mix: Mix | None) -> float:
    """The part of its label that an image has kept in the newest step."""
    if mix is None or mix.draw is None:
        return 1.0
    return float(mix.draw.pixels * mix.draw.moments)


def _check_usual(given: Exchange | ImageMix, prefix: str, kind: str, what: str, remedy: str) -> None:
    values, usual = vars(given), vars(type(given)())
    for name in (name for name in values if values[name] != usual[name]):
        raise ValueError(
            f"{option(f'{prefix}_{name}', True)} {values[name]} with --mix {kind}: it is about {what}, and there is none. "
            f"Leave it out, or add --mix {remedy}."
        )


def _or(given: float | None, usual: float) -> float:
    return usual if given is None else given
