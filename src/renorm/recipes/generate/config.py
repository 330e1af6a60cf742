"""What a conditional generator can be asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import ClassVar, Literal

from renorm.recipes.options import option

COUNTS = ("size", "width", "critic_width", "latent", "steps", "each", "batch", "generated", "critic_steps", "measured")
RATES = ("rate", "critic_rate", "table_factor")
SHARES = ("momentum", "squares", "average")
NOT_NEGATIVE = ("average_from", "save_every")
Norm = Literal["shared", "conditional", "sandwich"]


@dataclass(frozen=True)
class Config:
    """A generator and a discriminator of pictures and their classes, and how they train.

    Args:
        data: Images with labels, by a name or a path as in ``renorm train``.
        size: Side in pixels, 16, 32 or 128; by default the images' own.
        model: ``sngan``, ``autogan`` or ``biggan``.
        norm: Of the generator's blocks: ``shared`` by all classes; ``conditional``, an affine for each class; ``sandwich``, a
            shared one and on top of it one for each class.
        width: Channels of the generator's last block; by default the published ones.
        critic_width: Likewise of the discriminator's first.
        latent: Numbers of noise for each picture.
        steps: Of the generator.
        each: Steps between records, checkpoints and sheets of samples.
        batch: Images of a step of the discriminator.
        generated: Pictures of a step of the generator.
        critic_steps: Steps of the discriminator for each of the generator.
        rate: Of the generator (Adam).
        critic_rate: Of the discriminator (Adam).
        table_factor: How many times the generator's rate its classes' own affines have.
        momentum: Of gradients in Adam, its first beta.
        squares: Of squared gradients, its second beta.
        average: Decay of the averaged generator, which is saved and sampled; 0 averages nothing.
        average_from: Step at which averaging begins.
        measured: Pictures that the averaged generator's statistics are measured on.
        save_every: Steps between checkpoints within a record; 0 saves with each record only.
        precision: Of forwards: ``bf16`` computes convolutions in half the bits; spectral norms and losses stay in 32.
        memory_format: Of pictures in memory; ``channels_last`` is usual on a GPU.
        compile: Compile both networks, which takes a minute and then is faster.
        sync_bn: Normalize by the pictures of all processes together; several processes need it.
        trackers: Where the numbers of each record go too, as in ``renorm train``.
        seed: Of the weights, the order, noise and labels.
    """

    recipe: ClassVar[str] = "generate"
    data: str = field(default="cifar10", metadata={"files": "data"})
    size: int | None = None
    model: str = "sngan"
    norm: Norm = "sandwich"
    width: int | None = None
    critic_width: int | None = None
    latent: int = 128
    steps: int = 50_000
    each: int = 500
    batch: int = 64
    generated: int = 128
    critic_steps: int = 5
    rate: float = 2e-4
    critic_rate: float = 2e-4
    table_factor: float = 1.0
    momentum: float = 0.0
    squares: float = 0.9
    average: float = 0.999
    average_from: int = 0
    measured: int = 2048
    save_every: int = 0
    precision: Literal["no", "bf16"] = "no"
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    compile: bool = False
    sync_bn: bool = False
    trackers: tuple[str, ...] = ()
    seed: int = 0

    def check(self) -> None:
        """Refuse numbers that mean nothing, before anything is read.

        Raises:
            ValueError: If there is one.
        """
        ranges = {
            COUNTS: (1, inf, "1 or more"),
            NOT_NEGATIVE: (0, inf, "0 or more"),
            SHARES: (0, 1, "0 or more, below 1"),
        }
        for names, (low, high, words) in ranges.items():
            self._check(names, lambda value, low=low, high=high: low <= value < high, words)
        self._check(RATES, lambda value: 0 < value < inf, "a positive number")
        if self.steps > self.each and self.steps % self.each:
            raise ValueError(
                f"--steps {self.steps} with --each {self.each}: records are of equal length. Make one a multiple of the other."
            )

    def _check(self, names: tuple[str, ...], fits: Callable[[float], bool], words: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and not fits(value):
                raise ValueError(f"{option(name, True)} {value}: {words} is needed. Change it, or leave it out.")
