"""The view ``adv``: images attacked during the step, through the branch that they belong to.

Random starts depend on (seed, epoch, image) only: a run that was stopped goes on to the same numbers, and neither processes nor
the forwards of a step change them.

References: Madry et al., ICLR 2018 (plain norms); Xie et al., *Adversarial examples improve image recognition*, CVPR 2020
(AdvProp: norms split); Gong et al., *Sandwich batch normalization*, WACV 2022 (SaAuxBN).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor, nn

from renorm.attacks import Attack, divergence, radius, search_apart
from renorm.models import Classifier
from renorm.recipes.classify.attacking import Attacking
from renorm.recipes.classify.config import VIEW
from renorm.recipes.options import option
from renorm.seeds import stable_seed
from renorm.train import Key, autocast

if TYPE_CHECKING:
    from renorm.recipes.classify.config import Config

Loss = TypeVar("Loss", Tensor, float)


def still(config: Config) -> Config:
    """The configuration whose attacks move no statistics."""
    return replace(config, attack=replace(config.threat, mode="eval"))


def attacked_branches(config: Config) -> tuple[str, ...]:
    """Branches whose view is an attack."""
    return tuple(b for b, view in zip(config.branches, config.view_names, strict=True) if view == VIEW)


def origin(config: Config) -> str:
    """The branch whose images are attacked: the first whose view is no attack, else the attacked branch itself.

    Example:
        >>> from renorm.recipes.classify import Config
        >>> origin(Config(branches=("weak", "strong", "adv"))), origin(Config(branches=("adv",)))
        ('weak', 'adv')
    """
    attacked = attacked_branches(config)
    return next((branch for branch in config.branches if branch not in attacked), config.branches[0])


def attack_of(config: Config) -> Attack:
    """What a configuration's attacks do.

    Raises:
        ValueError: For numbers that cannot be.
    """
    how = config.threat
    eps = radius(how.eps, how.ball, "--eps")
    step = None if how.step_size is None else radius(how.step_size, "linf", "--attack-step-size")
    return Attack(eps, step, how.steps, how.ball, mode=how.mode)


def attack_in_words(config: Config) -> str:
    """What makes attacked views, in a line."""
    threat = config.threat
    how = "in evaluation mode" if threat.mode == "eval" else "in training mode, which moves its statistics"
    attacked = f"{', '.join(attacked_branches(config))}: images of {origin(config)} under attack"
    return f"{attacked}, {attack_of(config)}, {threat.steps} steps, {how}, loss {threat.loss}"


def with_attacks(
    config: Config,
    network: nn.Module,
    classifier: Classifier,
    shown: Mapping[str, Tensor],
    labels: Tensor,
    keys: Sequence[Key],
) -> dict[str, Tensor]:
    """The views of some images, with those of attacked branches made from them.

    Args:
        config: Of the training.
        network: What is attacked, as it is: whatever wraps or compiles it.
        classifier: Normalizes.
        shown: Views that were loaded, uint8; that of :func:`origin` among them. Branches that are not, are attacked.
        labels: Classes.
        keys: Of the examples.
    """
    made = {}
    for branch in attacked_branches(config):
        seeds = [stable_seed(config.seed, "attack", *key, branch) for key in keys]
        x = (shown[origin(config)].float() / 255).contiguous(memory_format=config.layout)
        with autocast(config.computing.precision, x.device):
            made[branch] = _attacked(config, network, classifier, x, labels, seeds, branch)
    return {**shown, **made}


def _attacked(
    config: Config,
    network: nn.Module,
    classifier: Classifier,
    x: Tensor,
    labels: Tensor,
    seeds: Sequence[int],
    branch: str,
) -> Tensor:
    attack, through = attack_of(config), branch if config.split else None
    options: dict[str, Any] = {"branch": through, "normalize": classifier.normalize}
    if config.threat.loss == "trades":
        reference = origin(config) if config.split else None
        return search_apart(attack, network, x, random=seeds, reference=reference, **options)
    return attack(network, x, labels, random=seeds if config.threat.start else None, **options)


def agreements(config: Config, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The second part of the loss of TRADES, summed over images, for each attacked branch."""
    own = outputs[origin(config)]
    return {
        branch: config.threat.trades_beta * divergence(outputs[branch], own).sum()
        for branch in attacked_branches(config)
    }


def whole(config: Config, losses: Sequence[Loss]) -> Loss:
    """The loss of a step from those of its branches: their mean; with TRADES what it adds is added."""
    added = attacked_branches(config) if config.threat.loss == "trades" else ()
    pairs = list(zip(config.branches, losses, strict=True))
    own = [loss for branch, loss in pairs if branch not in added]
    return sum(own[1:], own[0]) / len(own) + sum(loss for branch, loss in pairs if branch in added)


def check_attack(config: Config) -> None:
    """Refuse attacks that cannot be.

    Raises:
        ValueError: For numbers out of their range, TRADES without what it compares, or options that exclude each other.
    """
    attacked = attacked_branches(config)
    if attacked:
        if config.attack is None:
            raise ValueError(
                f"the branch {attacked[0]} has the view {VIEW}, and no attack is given: one is needed to make it. Add "
                "attack=Attacking()."
            )
        attack_of(config)
    if attacked and config.computing.precision == "fp16":
        raise ValueError(
            f"--precision fp16 with the view {VIEW}: the gradients that attacks follow are not scaled, and may vanish in so "
            "small a range. Use bf16."
        )
    if config.threat.loss == "trades" and (not attacked or origin(config) in attacked):
        raise ValueError(
            f"--adv-loss trades with the branches {', '.join(config.branches)}: it compares attacked images with others, so one "
            f"branch with the view {VIEW} and one with another are needed. Use --branches clean {VIEW}."
        )
    idle = [name for name in ("steps", "start", "mode") if getattr(config.threat, name) != getattr(Attacking, name)]
    if idle and not attacked:
        raise ValueError(
            f"{option(f'attack_{idle[0]}', getattr(config.threat, idle[0]))} with no branch with the view {VIEW}: it would do "
            f"nothing. Leave it out, or add --branches clean {VIEW}."
        )
    if config.threat.loss != "trades" and config.threat.trades_beta != Attacking.trades_beta:
        raise ValueError(
            f"--trades-beta with --adv-loss {config.threat.loss}: it would do nothing. Leave it out, or add --adv-loss trades."
        )
    if config.threat.trades_beta <= 0:
        raise ValueError(f"--trades-beta {config.threat.trades_beta}: a weight above 0 is needed. Leave it out for 6.")
    for given, wanted in (
        (
            config.threat.loss == "trades" and config.threat.mode == "train",
            "--adv-loss trades with --attack-mode train",
        ),
        (config.threat.loss == "trades" and not config.threat.start, "--adv-loss trades with --no-attack-start"),
        (
            bool(attacked) and config.threat.mode == "train" and config.mix is not None,
            f"--attack-mode train with --mix {config.mix.kind if config.mix else None}",
        ),
    ):
        if given:
            raise ValueError(
                f"{wanted}: these exclude each other, as nobody has said what both together are. Leave one out."
            )
