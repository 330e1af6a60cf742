"""Classification where branches are views of one image: split or sandwich batch normalization, and the plain baseline.

Each step stacks the views of the same images into one batch, and the loss is the mean over branches of the
cross-entropy. ``norm="shared"`` trains plain batch normalization on exactly the same batches.

Reference: Merchant, Zoph & Cubuk, *Does Data Augmentation Benefit from Split BatchNorms*, 2020.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from renorm.banks import Choice, branches_of, pool_statistics_, recalibrate_, resolve, tracked
from renorm.data import Images
from renorm.evaluate import SOURCE, validated
from renorm.layers import sites_of
from renorm.mix import Weight
from renorm.models import Classifier
from renorm.recipes.classify.adversarial import agreements, attacked_branches, still, whole, with_attacks
from renorm.recipes.classify.checks import check
from renorm.recipes.classify.config import MODEL, PRETRAINED, Config
from renorm.recipes.classify.domains import resolved, rows, trained_on
from renorm.recipes.classify.mixing import Stacking, branch_per_row, generator_of, mix_of, own_share, per_row
from renorm.recipes.classify.reading import read, tested_on
from renorm.recipes.classify.start import begin, synchronized
from renorm.recipes.classify.stored import stored_views
from renorm.recipes.classify.views import Batch, ViewedImages, loader
from renorm.recipes.paths import described, located
from renorm.routing import Stacked, route, stack, unstack
from renorm.seeds import stable_seed
from renorm.surgery import fold
from renorm.train import (
    Average,
    Checkpoint,
    Key,
    Order,
    Recipe,
    autocast,
    check_finite,
    checkpoint,
    gathered,
    half_cosine,
    join,
    scaler,
    unsynchronized,
)

MEASURING = -1  # the epoch whose views averaged weights are measured on: none that is trained on
BACKEND = "inductor"


class Classification(Recipe):
    """One network, of which each branch trains on its own view of the images.

    Args:
        config: What to train.
        images: To train on; by default they and ``test`` are what the configuration names.
        test: To validate on.
        device: Where to train; by default on an accelerator if there is one.
    """

    def __init__(
        self, config: Config, images: Images | None = None, test: Images | None = None, *, device: str | None = None
    ) -> None:
        self.config, self.processes = config, join(device)
        if images is None or test is None:
            with self.processes.main_first() if config.source.download else nullcontext():
                images, test = read(config)
        config = self.config = resolved(config, images)
        self.described = described(config)  # paths are whole, wherever the process goes
        images = self.images = trained_on(config, images)
        self.domain = rows(config, images) if config.by_domain and config.split else None
        check(config, images, self.processes.count)
        self.test = tested_on(images, test)
        torch.manual_seed(config.seed)
        with self.processes.main_first() if config.network.weights == PRETRAINED else nullcontext():
            start = begin(config, images)
        with torch.random.fork_rng(devices=[]):
            Classifier(start.model, start.mean, start.std, branches_of(start.model)).check(images)
        together = config.network.sync_bn and self.processes.count > 1
        self.model = synchronized(start.model) if together else start.model
        layout: Any = {"memory_format": config.layout}
        self.model.to(self.processes.device, **layout)
        if config.computing.shard:
            self.processes.shard_(self.model)
        self.optimizer: torch.optim.Optimizer = sgd(self.model, config)
        self.networks, self.optimizers = {MODEL: self.model}, {MODEL: self.optimizer}
        self.scaler = scaler(config.computing.precision, self.processes.device)
        self.plan = config.plan(len(images), self.processes.count)
        self.average = None if config.average is None else Average(self.model, config.average.decay)
        self.mix = mix_of(config, self.model, images[0][0].shape[-1])  # in what trains only; compiling sees it
        network: Any = torch.compile(self.model, backend=BACKEND) if config.computing.compile else self.model
        self.network = network if config.computing.shard else self.processes.parallel(network)
        self.classifier = Classifier(self.evaluated, start.mean, start.std)
        self.views = config.views_by_branch(self.size)
        self.data = ViewedImages(images, self.views, config.seed, stored_views(located(config), images))
        self._seen = 0  # images since the statistics of all processes were alike
        if not self.processes.main:
            torch.manual_seed(stable_seed(config.seed, "rank", self.processes.rank))  # dropout of its own

    @property
    def size(self) -> int:
        """Side of the images."""
        return self.images[0][0].shape[-1]

    @property
    def evaluated(self) -> nn.Module:
        """The model that is validated and saved: the average, where there is one."""
        return self.average.model if self.average else self.model

    @property
    def mixture(self) -> dict[str, str]:
        """The mix with all its settings in words, where there is one."""
        return {} if self.mix is None else {"mix": repr(self.mix)}

    def rates(self, step: int) -> Mapping[str, float]:
        """Of the only optimizer: half a cosine to 0, after a warmup."""
        warmup = round(self.config.optimization.warmup * self.plan.steps)
        return {MODEL: half_cosine(step, self.config.optimization.rate, self.plan.total, warmup)}

    def batches(self, epoch: int, first: int) -> Iterable[Batch]:
        """This process's batches of an epoch from the step numbered ``first`` on."""
        config, processes = self.config, self.processes
        least = config.least(processes.count)
        place = config.optimization.accumulate, processes.rank, processes.count
        order = Order(len(self.images), config.examples, config.seed, epoch, first, least, *place)
        return loader(self.data, order, config.computing.num_workers)

    def step(self, batch: Batch) -> dict[str, float]:
        """Train on the views of some images: one forward over all branches, or one for each part of them."""
        views, labels = (tensor.to(self.processes.device, non_blocking=True) for tensor in batch[:2])
        self.optimizer.zero_grad()
        parts = zip(views.split(batch.sizes), labels.split(batch.sizes), batch.parts, strict=True)
        found = []
        for number, part in enumerate(parts, 1):
            with unsynchronized(self.network, last=number == len(batch.sizes)):
                found.append(self._backward(*part, batch))
        numbers = self._numbers(self.processes.sum(torch.stack(found).sum(0)))
        check_finite(numbers["loss"], self.optimizer.param_groups[0]["lr"])
        self.scaler.step(self.optimizer)  # not where a gradient overflowed
        self.scaler.update()
        if self.average:
            self.average.update(self.model)
        self._seen += len(labels)
        return numbers

    def _backward(self, views: Tensor, labels: Tensor, keys: Sequence[Key], batch: Batch) -> Tensor:
        """Add the gradients of some of a step's images; their parts of the step's numbers, see :meth:`_numbers`."""
        shown = dict(zip(self.views, views.unbind(1), strict=True))
        x, spec = self.stacked(with_attacks(self.config, self.network, self.classifier, shown, labels, keys))
        with routed(self.model, self.config, spec if self.domain is None else self.domain[[i for _, i in keys]]):
            x = self._mixed(x, spec, batch.place)
            with autocast(self.config.computing.precision, x.device):
                y = self.network(x).float()
            terms = self._terms(per_row(labels, spec))
            losses, hits = (self._by_branch(values, spec) / batch.total for values in self._scores(y, terms))
            losses = self._agreeing(losses, y, spec, batch.total)
            loss = whole(self.config, losses.unbind()) * self.processes.count  # gradients are averaged over processes
            self.scaler.scale(loss).backward()
        own = len(labels) / batch.total * own_share(self.mix)
        return torch.cat([losses.detach(), hits, losses.new_tensor([own])])

    def _mixed(self, x: Tensor, spec: Stacking, place: tuple[int, int]) -> Tensor:
        """The rows as the model gets them; what is done to them is the same in all forwards of a step."""
        if self.mix is None:
            return x
        branches = branch_per_row(x, spec)
        groups = torch.zeros_like(branches) if self.config.mix and self.config.mix.across else branches
        return self.mix(x, generator_of(self.config.seed, place), groups)

    def _terms(self, labels: Tensor) -> list[tuple[Weight, Tensor]]:
        return [(1.0, labels)] if self.mix is None else self.mix.terms(labels)

    def _scores(self, y: Tensor, terms: list[tuple[Weight, Tensor]]) -> tuple[Tensor, Tensor]:
        """Loss of each row, and the share of its labels that is predicted."""
        smoothing, predicted = self.config.optimization.label_smoothing, y.argmax(1)
        losses = [w * F.cross_entropy(y, labels, reduction="none", label_smoothing=smoothing) for w, labels in terms]
        hits = [w * (predicted == labels).to(y) for w, labels in terms]
        return torch.stack(losses).sum(0), torch.stack(hits).sum(0)

    def _by_branch(self, values: Tensor, spec: Stacking) -> Tensor:
        return torch.stack([part.sum() for part in unstack(values, spec).values()])

    def _agreeing(self, losses: Tensor, y: Tensor, spec: Stacking, total: int) -> Tensor:
        """The losses of branches, with TRADES those of attacked ones replaced by what it adds."""
        if self.config.threat.loss != "trades":
            return losses
        added = agreements(self.config, unstack(y, spec))
        names = zip(self.config.branches, losses, strict=True)
        return torch.stack([added[name] / total if name in added else loss for name, loss in names])

    def _numbers(self, values: Tensor) -> dict[str, float]:
        """Loss, and accuracy, of each branch; with a mix also the share of labels that images kept."""
        branches, (*found, own) = self.config.branches, values.tolist()
        names = [f"{what}/{branch}" for what in ("loss", "accuracy") for branch in branches]
        loss = whole(self.config, found[: len(branches)])
        numbers = {"loss": loss} | dict(zip(names, found, strict=True))
        return numbers if self.mix is None else numbers | {"own_label": own}

    def stacked(self, views: Mapping[str, Tensor], only: Sequence[str] | None = None) -> Stacked:
        """Views as one normalized batch, branches in the configuration's order."""
        names = [name for name in self.config.branches if only is None or name in only]
        return stack({name: self.classifier.normalize(views[name]) for name in names}, self.config.layout)

    def finish(self) -> None:
        """Make the statistics those of all processes and, of averaged weights, their own."""
        if self.processes.count > 1 and not self.config.network.sync_bn:
            pool_statistics_(self.model, self._seen)
            self._seen = 0
        if self.average:
            self.average.copy_buffers(self.model)
            self._remeasure(self.average.model)

    def _remeasure(self, model: nn.Module) -> None:
        """Measure running statistics again, where there are any, each on the views that it describes."""
        group = dist.group.WORLD if self.processes.count > 1 else None
        for branch, names in self._measured().items():
            if tracked(model, resolve(model, branch)):
                recalibrate_(model, self._measuring(names), branch, group=group, forward=self._forward)

    def _measured(self) -> dict[str | None, Sequence[str]]:
        """Each set of running statistics, by a branch that has it, with the branches it describes."""
        branches = self.config.branches
        if self.config.own_statistics:
            return {name: (name,) for name in branches}
        return {branches[0] if self.config.split else None: branches}

    def _measuring(self, branches: Sequence[str]) -> Iterator[tuple[Tensor, Tensor, list[Key], tuple[str, ...]]]:
        """Views of some training images, the same at every call, in batches like a step's; whole ones for each process."""
        config, processes = self.config, self.processes
        images = config.average.images if config.average else len(self.images)
        number = max(1, min(images, len(self.images)) // config.examples)
        order = Order(len(self.images), config.examples, config.seed, MEASURING)
        mine = list(islice(order, processes.rank, number, processes.count))
        for batch in loader(self.data, mine, config.computing.num_workers):
            yield batch.views, batch.labels, batch.keys, tuple(branches)

    def _forward(self, model: nn.Module, batch: tuple[Tensor, Tensor, list[Key], tuple[str, ...]]) -> Tensor:
        """Call the model on views of some branches; attacks are on what trains, whose statistics fit its weights."""
        views, labels, keys, branches = batch
        shown = dict(zip(self.views, views.unbind(1), strict=True))
        if set(branches) & set(attacked_branches(self.config)):
            shown = with_attacks(still(self.config), self.network, self.classifier, shown, labels, keys)
        x, spec = self.stacked(shown, branches)
        with routed(model, self.config, spec):
            return model(x)

    def validate(self) -> dict[str, float]:
        """Accuracy on the clean test images, of each branch's bank; where it is a domain, on those of the domain."""
        with (
            gathered(self.model) if self.config.computing.shard else nullcontext()
        ):  # processes have not as many batches
            return self._on_all() if self.domain is None else self._by_domain()

    def _on_all(self) -> dict[str, float]:
        choices = {name: Choice(name) for name in self.config.branches} if self.config.split else {SOURCE: Choice()}
        mine = self.test.subset(range(self.processes.rank, len(self.test), self.processes.count))
        right = validated(self.classifier, mine, choices) if len(mine) else dict.fromkeys(choices, 0)
        total = self.processes.sum(torch.tensor(list(right.values()), device=self.processes.device)).tolist()
        return {f"test/{name}": number / len(self.test) for name, number in zip(choices, total, strict=True)}

    def _by_domain(self) -> dict[str, float]:
        """Accuracy of each bank on the test images of its domain, of which there may be none."""
        domain = rows(self.config, self.test)
        numbers = {}
        for row, name in enumerate(self.config.populations):
            members = (domain == row).nonzero()[:, 0]
            mine = self.test.subset(members[self.processes.rank :: self.processes.count])
            right = validated(self.classifier, mine, {name: Choice(name)})[name] if len(mine) else 0
            if len(members):
                total = self.processes.sum(torch.tensor(right, device=self.processes.device))
                numbers[f"test/{name}"] = float(total) / len(members)
        return numbers

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint's file of weights holds, under the names that :func:`build` gives."""
        converted = not self.config.split and branches_of(self.evaluated)
        return {MODEL: (fold(self.evaluated, SOURCE) if converted else self.evaluated).state_dict()}

    def state(self) -> dict[str, Any]:
        """What else a checkpoint needs for going on."""
        found: dict[str, Any] = {"scaler": self.scaler.state_dict()} if self.scaler.is_enabled() else {}
        if self.average:
            found |= {"model": dict(self.model.state_dict()), "updates": self.average.updates}
        return found

    def restore(self, saved: Checkpoint) -> None:
        """Put everything where a checkpoint was."""
        checkpoint.load_into(self.evaluated, saved.weights[MODEL])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(saved.state["scaler"])
        if self.average:
            checkpoint.load_into(self.model, saved.state["model"])
            self.average.updates = saved.state["updates"]

    def describe(self) -> dict[str, Any]:
        """Branches, classes and input normalization, for the checkpoint."""
        return {
            **self.described,
            "branches": list(self.config.populations) if self.config.split else [],
            "classes": self.images.classes,
            "mean": list(self.classifier.mean),
            "std": list(self.classifier.std),
            "size": self.size,
        } | self.mixture


def sgd(model: nn.Module, config: Config) -> torch.optim.SGD:
    """The optimizer of a configuration; affines that multiply each other do not decay, which would pull both to 0."""
    parameters: Any = list(model.parameters())
    multiplied = {id(p) for _, site in sites_of(model) for pair in site.multiplied() for p in pair}
    free = [p for p in parameters if id(p) in multiplied or (p.ndim <= 1 and not config.optimization.decay_norms)]
    if free:
        others = {id(p) for p in parameters} - {id(p) for p in free}
        decaying = [p for p in parameters if id(p) in others]
        parameters = [{"params": decaying}, {"params": free, "weight_decay": 0.0}]
    how = config.optimization
    return torch.optim.SGD(parameters, how.rate, how.momentum, weight_decay=how.weight_decay, nesterov=how.momentum > 0)


def routed(model: nn.Module, config: Config, spec: Any) -> AbstractContextManager[None]:
    """The route of a stacked batch; a model with shared norms needs none."""
    return route(model, spec) if config.split else nullcontext()
