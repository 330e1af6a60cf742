"""``renorm evaluate``: the table bank x shift."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from renorm.cli.attacks import Attacks
from renorm.cli.console import changed, console, done, invocation, progress, say
from renorm.cli.model import ModelOptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch.distributed as dist

    from renorm.data import Images, View
    from renorm.evaluate import Choice, Former, Protocol, Results
    from renorm.recipes import NamedModel
    from renorm.shifts import Shift, Threat


@dataclass(frozen=True)
class Evaluate:
    """Evaluate every bank of a model under every shift: accuracy with 95 % intervals, likelihood, calibration.

    Started again after it was stopped, the same command goes on where it was. Under torchrun the processes share the shifts.

    Args:
        model: Folder of a run, a file that renorm wrote, or a model's name (timm:NAME, torchvision:NAME, resnet20, ...).
        data: Images to evaluate on; a run knows its own.
        train: Training images, which clean@ banks are measured on; a run knows its own.
        banks: Branches, statistics of a view through a branch's affine (clean@BRANCH, weak@BRANCH), mixtures such as
            weak:0.7+strong:0.3, or bank files; by default all branches, clean@ for each, and the even mixture of two. A
            model without branches has the bank source.
        shifts: clean, weak, strong; quick (4 corruptions), standard (15), held-out (4), corruptions (19) or a corruption's
            name, perhaps with a severity (contrast:3, standard:5); an attack, fgsm, pgd:20 (20 steps), autoattack or
            torchattacks:NAME; domains, or the name of a domain of the data; a folder of shifted images (CIFAR-10-C, ImageNet-C,
            -R, ...). By default clean weak strong quick, and pgd:10 for a model that was trained under attack, domains
            for one whose branches they are.
        scale: Whose severities: those published for images of 32, 64 or 224 pixels; by default the nearest to the images.
        rounding: What becomes of corrupted pixels: 8-bit rounds them as published files are; none keeps them as computed;
            jpeg also codes them, as ImageNet-C is.
        num_images: Evaluate on so many test images, drawn with the seed; 0 for all.
        adapt: Also evaluate banks adapted to each shift from so many of its images; 0 for none.
        prior: How many images the source bank counts for when adapting; auto, the default, reads it off the images of each
            shift, and keeps the source where what they show may be chance.
        alexnet: Whose errors of AlexNet the mean corruption error is relative to: imagenet, cifar10 or cifar100; by default
            those of the data, if these are among them.
        out: Where to write the table, a .csv; by default results.csv of the run.
        seed: Of the draw, the shifts and the intervals.
        source: Where a model given by name comes from.
        attacks: What the attacks among the shifts may do.
    """

    model: Positional[str]
    data: str | None = None
    train: str | None = None
    banks: tuple[str, ...] = ()
    shifts: tuple[str, ...] = ()
    scale: Literal[32, 64, 224] | None = None
    rounding: Literal["8-bit", "none", "jpeg"] = "8-bit"
    num_images: int = 0
    adapt: int = 0
    prior: float | Literal["auto"] = "auto"
    alexnet: str | None = None
    out: Path | None = None
    seed: int = 0
    source: ModelOptions = field(default_factory=ModelOptions)
    attacks: Attacks = field(default_factory=Attacks)

    def run(self) -> None:
        """Run the command, in every process that torchrun started."""
        from renorm.evaluate import ranks
        from renorm.train import join

        self.check()
        processes = join()
        console.quiet = not processes.main
        try:
            results = self.results(ranks.meet() if processes.count > 1 else None)
            if processes.main:
                self.show(results)
                self.report()
        finally:
            processes.leave()

    def check(self) -> None:
        """Refuse at once what would otherwise be found at the end."""
        from renorm.evaluate.results import check_name
        from renorm.metrics import alexnet

        if self.out is not None:
            check_name(self.out)
        if self.alexnet is not None:
            alexnet(self.alexnet)
        for name, value in (("num-images", self.num_images), ("adapt", self.adapt)):
            if value < 0:
                raise ValueError(f"--{name} {value}: a number of images is needed. Name one, or leave it out.")
        if self.prior != Evaluate.prior and not self.adapt:
            raise ValueError(
                f"--prior {self.prior} without --adapt: no bank is adapted. Add --adapt 32, or leave it out."
            )

    def results(self, group: dist.ProcessGroup | None) -> Results:
        """What was asked for of the table, which is made under a progress bar and written shift by shift."""
        from renorm.evaluate import Adapted, describe, evaluate, former, unknown

        named = self.source.open(self.model)
        train, images = self.images(named)
        chosen = self.chosen_shifts(named, images, train)
        if self.alexnet is not None:
            check_standard(chosen)
        self.check_used(chosen)
        choices = self.choices(named, train)
        owners = (*named.classifier.branches, *unknown(named.classifier.model))
        adapt = Adapted(named.classifier, images, owners, self.adapt, self.prior) if self.adapt else None
        weights = f" {self.source.weights}" if self.source.weights else ""
        about = {"model": f"{self.model}{weights}", "training": named.training, "command": invocation()}
        protocol = describe(named.classifier, images, choices, chosen, adapt.made if adapt else {}, **about)
        tell(protocol, chosen)
        if self.path is not None:
            tell_former(self.path, former(self.path, protocol, chosen))
        with progress("cells") as bar:
            task = bar.add_task("evaluate", total=None, numbers="")

            def show(done: float, total: int, shift: Shift) -> None:
                bar.update(task, completed=int(done), total=total, numbers=shift.label)

            options = {"adapt": adapt, "protocol": protocol, "out": self.path, "group": group, "callback": show}
            whole = evaluate(named.classifier, images, choices, chosen, **options)
        return whole.part(protocol.banks, [(shift.name, shift.severity) for shift in chosen])

    def check_used(self, chosen: Sequence[Shift]) -> None:
        """Refuse options of shifts that are not among the chosen ones."""
        corrupted = any(shift.severity and shift.images is None for shift in chosen)
        attacked = any(shift.adversary is not None for shift in chosen)
        for given, used, what, remedy in (
            (self.scale is not None, corrupted, "--scale", "a corruption, as quick"),
            (self.rounding != Evaluate.rounding, corrupted, "--rounding", "a corruption, as quick"),
            (self.attacks != type(self.attacks)(), attacked, changed(self.attacks), "an attack, as pgd:10"),
        ):
            if given and not used:
                names = ", ".join(dict.fromkeys(shift.name for shift in chosen))
                raise ValueError(
                    f"{what} with the shifts {names}: it would do nothing. Leave it out, or name {remedy}, among --shifts."
                )

    def show(self, results: Results) -> None:
        """Print the table and what it comes to."""
        from renorm.cli.overview import overview
        from renorm.report import tables

        console.print(tables.results(results, f"{self.model}: bank x shift"))
        summary = overview(results, self.alexnet)
        if summary is not None:
            console.print()
            console.print(summary)

    def report(self) -> None:
        """Write a run's report, and tell what was written where."""
        from renorm.cli.report import Report

        if self.path is not None:
            done("table", self.path)
        if self.is_run and self.out is None:
            Report((Path(self.model),), table=False).run()

    @property
    def is_run(self) -> bool:
        """Whether the model is a run, which has a place for its table."""
        return (Path(self.model) / "config.json").exists()

    @property
    def path(self) -> Path | None:
        """Where the table is written, if anywhere."""
        return self.out or (Path(self.model) / "results.csv" if self.is_run else None)

    def images(self, named: NamedModel) -> tuple[Images | None, Images | None]:
        """Training images, if any bank is measured on them, and those to evaluate on, if not all shifts bring their own."""
        from renorm.data import sample
        from renorm.shifts import is_made

        if self.train is not None and not self.measures(named):
            raise ValueError(
                f"--train {self.train} with the banks {' '.join(self.banks) or 'of a plain model'}: none is measured on training "
                "images. Leave it out, or name one that is, as --banks clean@BRANCH."
            )
        train, images = self.own(named)
        train = named.images(self.train, "train") if self.train else train
        images = named.images(self.data) if self.data else images
        if images is None and (not self.shifts or any(is_made(name) or name == "domains" for name in self.shifts)):
            raise ValueError("no images to evaluate on: a model given by name has none of its own. Add --data.")
        if images is not None and self.num_images and self.num_images < len(images):
            images = sample(images, self.num_images, self.seed)
        return train, images if images is None else named.classifier.in_order(images)

    def own(self, named: NamedModel) -> tuple[Images | None, Images | None]:
        """A run's own images, read only where they are used.

        Raises:
            FileNotFoundError: If they are not where they were.
        """
        from renorm.recipes.classify import read

        trained = self.train is None and self.measures(named)
        tested = self.data is None and self.changes(named)
        if not named.about or not (trained or tested):
            return None, None
        try:
            train, test = read(named.config)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{error} These are the images that {self.model} was trained with: name others by --data and --train, or banks "
                "that are not measured on them by --banks."
            ) from error
        return train if trained else None, test if tested else None

    def measures(self, named: NamedModel) -> bool:
        """Whether a bank is measured on training images."""
        by_view = any("@" in name for name in (*self.banks, self.attacks.attack_branch or ""))
        return by_view or (not self.banks and bool(named.classifier.branches))

    def changes(self, named: NamedModel) -> bool:
        """Whether a shift changes the data, or is one of its domains, and does not bring images of its own."""
        from renorm.shifts import is_made

        return (
            named.config.by_domain
            or not self.shifts
            or any(is_made(name) or name == "domains" or not is_path(name) for name in self.shifts)
        )

    def choices(self, named: NamedModel, train: Images | None) -> Mapping[str, Choice]:
        """The banks to evaluate."""
        from renorm.evaluate import unknown, usual

        own = (*usual(named.classifier.branches), *unknown(named.classifier.model))
        names = self.banks or [name for name in own if train or not name.startswith("clean@")]
        return self.named(names, named, train)

    def named(self, names: Sequence[str], named: NamedModel, train: Images | None) -> Mapping[str, Choice]:
        """Banks of some names."""
        from renorm.evaluate import TrainingImages, choose

        training = TrainingImages(train, seed=self.seed, make_view=views(named, train) if train else None)
        return choose(named.classifier, names, named.classifier.branches, training)

    def chosen_shifts(self, named: NamedModel, images: Images | None, train: Images | None) -> list[Shift]:
        """The shifts to evaluate under, in the order they were named."""
        from renorm.shifts import DEFAULT

        config = named.config
        own = ["pgd:10"] * config.adversarial + ["domains"] * (config.by_domain and self.data is None)
        names = self.shifts or (*DEFAULT, *own)
        threat = self.attacks.threat(named.config, lambda name: self.named([name], named, train))
        return [shift for name in names for shift in self.shifts_of(name, named, images, threat)]

    def shifts_of(self, name: str, named: NamedModel, images: Images | None, threat: Threat) -> list[Shift]:
        """The shifts that a name stands for."""
        from renorm.shifts import domains, is_made, read_shifts, shifts

        if images is not None and (name == "domains" or (name in (images.domains or ()) and not is_made(name))):
            return domains(images, () if name == "domains" else (name,), self.seed)
        if not is_made(name) and is_path(name):
            classes = named.classifier.classes or (images.classes if images else ())
            size = named.classifier.size or (images[0][0].shape[-1] if images else None)
            return [*read_shifts(Path(name), classes=classes, size=size, num_images=self.num_images, seed=self.seed)]
        make_view = views(named, images) if images is not None else unviewed
        return shifts([name], make_view, self.seed, scale=self.scale, rounding=self.rounding, threat=threat)


def is_path(name: str) -> bool:
    """Whether a shift is a folder or a file."""
    return "/" in name or Path(name).exists()


def tell(protocol: Protocol, chosen: list[Shift]) -> None:
    """Say what is evaluated, before it takes its time."""
    what = f"{protocol.data.images:,} images of {protocol.data.name}, " if protocol.data else ""
    scale = f", severities for {protocol.scale} pixels" if protocol.scale else ""
    banks = " ".join(protocol.banks)
    say(f"{what}{len(chosen)} shifts{scale}, banks {banks}, seed {protocol.seed}", style="dim")


def tell_former(path: Path, found: Former) -> None:
    """Say what becomes of a table that is there already."""
    from renorm.evaluate import other_name

    if found.unlike:
        say(f"{path} was made otherwise ({found.unlike}): it is kept as {other_name(path)}", style="yellow")
    elif found.results is not None:
        say(f"adding to {path}, which has {len(found.results.shifts)} shifts of this protocol", style="dim")


def check_standard(chosen: list[Shift]) -> None:
    """Refuse a mean corruption error of some of the corruptions."""
    from renorm.corruptions import SEVERITIES, STANDARD

    there = {shift.label for shift in chosen}
    missing = [label for name in STANDARD for n in SEVERITIES if (label := f"{name} {n}") not in there]
    if missing:
        raise ValueError(
            f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''} are not among the shifts: a mean corruption error "
            "needs the fifteen standard corruptions in five severities. Add --shifts standard, or leave --alexnet out."
        )


def views(named: NamedModel, images: Images) -> Callable[[str], View]:
    """Makes views of images by name, with the settings the model was trained with."""
    config, size = replace(named.config, data=images.name), images[0][0].shape[-1]
    return lambda name: config.view(name, size)


def unviewed(name: str) -> View:
    """Refuse a view where there is no data to show."""
    raise ValueError(f"no images for the shift {name}: it needs data to change. Add --data.")
