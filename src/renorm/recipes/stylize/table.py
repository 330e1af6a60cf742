"""The table of a style network: losses of held-out pairs, against one fixed target and against its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from renorm.evaluate import ImageSet, Measured, MeasuredTable, Protocol, fingerprint, versions
from renorm.metrics import bootstrap
from renorm.models import Stylizer
from renorm.recipes.asked import Evaluation
from renorm.recipes.stylize.config import Config
from renorm.recipes.stylize.opened import StyleNetwork
from renorm.recipes.stylize.recipe import held_out, held_pairs
from renorm.recipes.stylize.score import pair_numbers

TRAINED, PLAIN = "trained", "without affine"
MADE = {TRAINED: "as training left it", PLAIN: "the same decoder, the affine left out"}
STYLIZED = "stylized"  # what numbers are measured on
USUAL = 64  # pairs


def prepare(opened: StyleNetwork, asked: Evaluation, *, model: str = "", command: str = "") -> MeasuredTable:
    """The table of a run.

    Args:
        opened: The run.
        asked: How many pairs; by default 64 at most.
        model: What the table calls it.
        command: What was typed, if anything was.

    Raises:
        ValueError: If nothing was held out, or for an unknown bank.
        FileNotFoundError: If its pictures are not where they were.
    """
    config, net = opened.config, opened.net
    held = held_out(config)
    if held is None:
        raise ValueError(
            f"{model or 'the run'} was trained with --holdout 0: pairs that it was not trained on are needed. Train it with a "
            f"part held out."
        )
    known = (TRAINED, PLAIN) if net.weight is not None else (TRAINED,)
    if unknown := [bank for bank in asked.banks if bank not in known]:
        raise ValueError(f"no bank {unknown[0]!r}: one of {', '.join(known)} is needed. Name some of these.")
    number = min(asked.num_images or USUAL, len(held[0]))
    device = next(net.parameters()).device

    def measured(bank: str) -> dict[str, Measured]:
        pairs = ((content.to(device), style.to(device)) for content, style in held_pairs(held, config, number))
        with bare(net) if bank == PLAIN else nullcontext():
            found, _ = pair_numbers(net, pairs)
        numbers = {}
        for name, values in found.items():
            each = bootstrap([values], asked.seed)
            numbers[name] = Measured(each.value, len(values), each.low, each.high, values)
        return numbers

    protocol = Protocol(
        data=ImageSet.of(held[0]),
        stored={"styles": ImageSet.of(held[1])},
        seed=asked.seed,
        model=model,
        training=in_words(config),
        weights=fingerprint(net),
        banks={bank: f"{MADE[bank]}; {number} pairs of {config.crop} pixels" for bank in asked.banks or known},
        versions=versions(device),
        command=command,
    )
    notes = [
        f"{number} held-out contents of {held[0].name} beside {min(number, len(held[1]))} held-out styles of {held[1].name}"
    ]
    return MeasuredTable(protocol, measured, STYLIZED, notes=notes)


def in_words(config: Config) -> str:
    """How a style network was trained."""
    kind = f"sandwich, {'attached' if config.attach else 'detached'} target" if config.affine else "AdaIN"
    return f"{kind}, style weight {config.weight:g}, {config.steps} steps of {config.batch}, seed {config.seed}"


@contextmanager
def bare(net: Stylizer) -> Iterator[None]:
    """The network without its affine, which is given back."""
    weight, bias = net.weight, net.bias
    net.weight = net.bias = None
    try:
        yield
    finally:
        net.weight, net.bias = weight, bias
