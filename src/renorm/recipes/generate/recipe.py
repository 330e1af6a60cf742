"""A generator of pictures of each class and a discriminator, trained against each other by the hinge loss.

Reference: Miyato & Koyama, *cGANs with Projection Discriminator*, ICLR 2018; Gong, Chen, Chen & Wang, *Sandwich batch
normalization*, WACV 2022, section 4.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from renorm.banks import evaluating, recalibrate_
from renorm.data import Images, load
from renorm.files import write_atomically
from renorm.layers import sites_of
from renorm.models import Discriminator, Generator, discriminator, generator
from renorm.recipes.generate.config import Config
from renorm.recipes.generate.network import TABLES, calling, converted, made_by
from renorm.recipes.generate.opened import AVERAGE, CRITIC, GENERATOR
from renorm.recipes.generate.sample import noise, pixels
from renorm.recipes.generate.sheets import COLUMNS, ROWS, SAMPLES, by_class, png
from renorm.recipes.order import in_turn
from renorm.recipes.paths import described
from renorm.seeds import stable_seed
from renorm.train import Average, Checkpoint, Plan, Recipe, autocast, check_finite, constant, join

BACKEND = "inductor"  # of compiled networks
REMEDY = "Lower --rate and --critic-rate, or train with --precision no."
MEASURING = -1  # the step whose noise averaged weights are measured on: none that is trained on


class Batch(NamedTuple):
    """The images of a step, in -1..1, ``(critic_steps, N, 3, H, W)``, with their labels."""

    images: Tensor
    labels: Tensor
    total: int
    step: int


class Generation(Recipe):
    """A generator whose classes are branches, and a discriminator that is given the class.

    Args:
        config: What to train.
        images: To train on; by default what the configuration names.
        device: Where to train; by default on an accelerator if there is one.

    Raises:
        ValueError: If the images have fewer than two classes, lack labels, or have a size that the network has not.
    """

    def __init__(self, config: Config, images: Images | None = None, *, device: str | None = None) -> None:
        config.check()
        self.config, self.processes, self.described = config, join(device), described(config)
        self.images = load(config.data, size=config.size) if images is None else images
        self._check()
        size, names = self.images[0][0].shape[-1], self.images.classes
        torch.manual_seed(config.seed)
        self.generator = converted(
            generator(config.model, size, width=config.width, latent=config.latent), names, config
        )
        torch.manual_seed(stable_seed(config.seed, CRITIC))  # whatever the generator has drawn
        self.critic = discriminator(config.model, len(names), size, width=config.critic_width)
        self.networks = {GENERATOR: self.generator, CRITIC: self.critic}
        for network in self.networks.values():
            network.to(self.processes.device, memory_format=self.format)  # pyright: ignore[reportCallIssue]
        self.calls: dict[str, Any] = {
            name: torch.compile(network, backend=BACKEND) if config.compile else network
            for name, network in self.networks.items()
        }
        self.optimizers = optimizers(self.generator, self.critic, config)
        self.average = Average(self.generator, config.average) if config.average else None
        each = min(config.each, config.steps)
        self.plan = Plan(config.steps // each, each, config.save_every, config.trackers)

    @property
    def format(self) -> torch.memory_format:
        """Of pictures in memory."""
        return torch.channels_last if self.config.memory_format == "channels_last" else torch.contiguous_format

    def _check(self) -> None:
        labels, classes = self.images.labels, len(self.images.classes)
        if classes < 2 or labels.min() < 0:
            raise ValueError(
                f"{self.images.name} has {classes} classes and {int((labels < 0).sum())} images without one. A conditional "
                f"generator needs two classes at least, and the class of each image. Use labelled images."
            )
        height, width = self.images[0][0].shape[-2:]
        if height != width:
            raise ValueError(
                f"{self.images.name} has images of {height} x {width} pixels: generators make squares. Give a size, as --size 32."
            )
        config, count = self.config, self.processes.count
        if count > 1 and not config.sync_bn:
            raise ValueError(
                f"{count} processes were started: each would normalize by its part of a batch, and its generator would be "
                f"another. They must use the statistics of all together. Add --sync-bn, or start one process."
            )
        if config.batch % count or config.generated % count:
            raise ValueError(
                f"--batch {config.batch} and --generated {config.generated} with {count} processes: each takes an equal part. "
                f"Make both multiples of {count}."
            )

    @property
    def grey(self) -> bool:
        """Whether all of the first images have three equal channels."""
        shown, _ = self.images.batch(range(min(100, len(self.images))))
        return bool((shown == shown[:, :1]).all())

    def rates(self, step: int) -> Mapping[str, float]:
        """Constants; of the classes' own affines a multiple of the generator's."""
        config = self.config
        found = {GENERATOR: constant(step, config.rate), CRITIC: constant(step, config.critic_rate)}
        return found | ({TABLES: config.rate * config.table_factor} if TABLES in self.optimizers else {})

    def batches(self, epoch: int, first: int) -> Iterator[Batch]:
        """The images of each step, in an order that shows all of them before any again."""
        config = self.config
        for number in range(first, self.plan.steps):
            step, count = epoch * self.plan.steps + number, config.critic_steps * config.batch
            which = in_turn(len(self.images), step * count, count, config.seed).view(config.critic_steps, config.batch)
            pixels, labels = self.images.batch(self._mine(which.T).T.flatten())
            yield Batch(
                (pixels / 127.5 - 1).unflatten(0, (config.critic_steps, -1)),
                labels.unflatten(0, (config.critic_steps, -1)),
                count,
                step,
            )

    def step(self, batch: Batch) -> dict[str, float]:
        """Some steps of the discriminator, then one of the generator."""
        losses = []
        for number, (images, labels) in enumerate(zip(batch.images, batch.labels, strict=True)):
            real = self.placed(images), labels.to(self.processes.device)
            losses.append(self._judge(*real, *self.noise(self.config.batch, batch.step, number)))
        made = self.noise(self.config.generated, batch.step, self.config.critic_steps)
        with constants(self.critic):
            with autocast(self.config.precision, self.processes.device):
                loss = (
                    -self.calls[CRITIC](made_by(self.generator, *made, self.calls[GENERATOR]), made[1]).float().mean()
                )
            mean = self._descend([name for name in self.optimizers if name != CRITIC], loss)
        if self.average and batch.step >= self.config.average_from:
            self.average.update(self.generator)
        return {"loss/discriminator": sum(losses) / len(losses), "loss/generator": mean}

    def placed(self, images: Tensor) -> Tensor:
        """Images where and as networks take them."""
        return images.to(self.processes.device).contiguous(memory_format=self.format)

    def _judge(self, images: Tensor, labels: Tensor, z: Tensor, drawn: Tensor) -> float:
        """A step of the discriminator; real and made pictures are one batch of it."""
        with autocast(self.config.precision, self.processes.device):
            with torch.no_grad():
                made = made_by(self.generator, z, drawn, self.calls[GENERATOR]).float()
            scores = self.calls[CRITIC](self.placed(torch.cat([images, made])), torch.cat([labels, drawn])).float()
            loss = hinge(*scores.split([len(images), len(made)]))
        return self._descend([CRITIC], loss)

    def _descend(self, names: list[str], loss: Tensor) -> float:
        """A step of some optimizers by the mean loss of all processes, which it gives."""
        count = self.processes.count
        mean = float(self.processes.sum(loss.detach().clone())) / count
        check_finite(mean, self.optimizers[names[0]].param_groups[0]["lr"], REMEDY)
        for name in names:
            self.optimizers[name].zero_grad()
        loss.backward()
        for name in names:
            self._average_gradients(self.optimizers[name])
            self.optimizers[name].step()
            self.optimizers[name].zero_grad()
        return mean

    def _average_gradients(self, optimizer: torch.optim.Optimizer) -> None:
        """Those of all processes, in one sum."""
        if self.processes.count == 1:
            return
        given = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        whole = self.processes.sum(torch.cat([grad.flatten() for grad in given])) / self.processes.count
        for grad, part in zip(given, whole.split([grad.numel() for grad in given]), strict=True):
            grad.copy_(part.view_as(grad))

    def _mine(self, rows: Tensor) -> Tensor:
        """This process's part of what all share."""
        size = len(rows) // self.processes.count
        return rows[self.processes.rank * size : (self.processes.rank + 1) * size]

    def noise(self, number: int, step: int, part: int) -> tuple[Tensor, Tensor]:
        """Noise and labels that only the seed, the step and its part decide: this process's part of so many."""
        z, labels = self.all_noise(number, step, part)
        return self._mine(z), self._mine(labels)

    def all_noise(self, number: int, step: int, part: int) -> tuple[Tensor, Tensor]:
        """The same for all processes."""
        drawn = torch.Generator().manual_seed(stable_seed(self.config.seed, "noise", step, part))
        z = torch.randn(number, self.config.latent, generator=drawn)
        labels = torch.randint(len(self.images.classes), (number,), generator=drawn)
        return z.to(self.processes.device), labels.to(self.processes.device)

    def finish(self) -> None:
        """Measure the statistics of averaged weights on pictures of every class."""
        if self.average is None:
            return
        self.average.copy_buffers(self.generator)
        config = self.config
        numbers = range(max(1, config.measured // config.generated))
        batches = (self.all_noise(config.generated, MEASURING, number) for number in numbers)
        recalibrate_(self.average.model, batches, **calling(self.average.model))

    def illustrate(self, folder: Path, epoch: int) -> None:
        """A sheet of every class, of the same noise each time."""
        model = self.generator if self.average is None else self.average.model
        labels = torch.arange(min(ROWS, len(self.images.classes))).repeat_interleave(COLUMNS)
        z = noise(len(labels), self.config.latent, self.config.seed)
        with evaluating(model), torch.no_grad():
            made = pixels(made_by(model, z.to(self.processes.device), labels.to(self.processes.device)))
        write_atomically(folder / SAMPLES / f"epoch-{epoch:04}.png", png(by_class(made, labels)))

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """Of both networks, and of the average."""
        found = {name: network.state_dict() for name, network in self.networks.items()}
        return found if self.average is None else found | {AVERAGE: self.average.model.state_dict()}

    def state(self) -> dict[str, Any]:
        """How often the average was updated."""
        return {"updates": 0 if self.average is None else self.average.updates}

    def restore(self, saved: Checkpoint) -> None:
        """Take back all of it."""
        super().restore(saved)
        if self.average is not None:
            self.average.model.load_state_dict(saved.weights[AVERAGE])
            self.average.updates = saved.state["updates"]

    def describe(self) -> dict[str, Any]:
        """The configuration, and what opening the generator needs."""
        size = self.images[0][0].shape[-1]
        about = {"classes": self.images.classes, "size": size}
        return {**self.described, **about}


def optimizers(made: Generator, critic: Discriminator, config: Config) -> dict[str, torch.optim.Optimizer]:
    """Adam of each network, and of the classes' own affines where their rate is another."""

    def adam(parameters: list[nn.Parameter], rate: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, rate, (config.momentum, config.squares))

    found = {CRITIC: adam(list(critic.parameters()), config.critic_rate)}
    own = [p for name, site in sites_of(made) if name in made.sites for p in site.own_parameters(0).values()]
    if config.table_factor == 1 or not own:
        return {GENERATOR: adam(list(made.parameters()), config.rate), **found}
    rest = {id(p) for p in own}
    found[TABLES] = adam(own, config.rate * config.table_factor)
    return {GENERATOR: adam([p for p in made.parameters() if id(p) not in rest], config.rate), **found}


def hinge(real: Tensor, made: Tensor) -> Tensor:
    r"""The discriminator's loss, :math:`\overline{(1 - D(x))_+} + \overline{(1 + D(G(z)))_+}`.

    Example:
        >>> hinge(torch.tensor([-2.0, -0.5, 0.3, 1.5]), torch.tensor([-2.0, -0.5, 0.3, 1.5]))
        tensor(2.3750)
    """
    return F.relu(1 - real).mean() + F.relu(1 + made).mean()


@contextmanager
def constants(model: nn.Module) -> Iterator[None]:
    """Parameters get no gradients in the block; which did before do after it."""
    wanted = [p for p in model.parameters() if p.requires_grad]
    for p in wanted:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in wanted:
            p.requires_grad_(True)
