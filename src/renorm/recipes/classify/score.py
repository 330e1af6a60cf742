"""What a classifier's table is of: which images, which banks, under which shifts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from renorm.data import Images, Origin, View, labels_in_words, sample, square
from renorm.evaluate import (
    Adapted,
    Choice,
    Former,
    PartCallback,
    PartListener,
    Protocol,
    Results,
    TrainingImages,
    check_standard,
    choose,
    describe,
    evaluate,
    overview,
    read_former,
    unknown,
    usual,
)
from renorm.metrics import Interval
from renorm.recipes.asked import Evaluation, ThreatOptions
from renorm.recipes.classify.reading import read
from renorm.recipes.classify.threat import threat_of
from renorm.recipes.options import changed
from renorm.shifts import DEFAULT, Shift, Threat, domains, is_made, make_shifts, read_shifts

if TYPE_CHECKING:
    import torch.distributed as dist

    from renorm.recipes.classify.named import NamedModel


class ClassifierTable(NamedTuple):
    """A classifier's table before it is computed."""

    named: NamedModel
    images: Images | None
    choices: Mapping[str, Choice]
    shifts: list[Shift]
    adapt: Adapted | None
    protocol: Protocol
    alexnet: str | None = None

    @property
    def parts(self) -> Sequence[str]:
        """The shifts."""
        return [shift.label for shift in self.shifts]

    @property
    def unit(self) -> str:
        """A shift."""
        return "shift"

    @property
    def notes(self) -> Sequence[str]:
        """What becomes of the images, what of which under how many shifts, and what labels are taken from."""
        protocol = self.protocol
        images, shifts = protocol.data.images if protocol.data else 0, len(self.shifts)
        what = f"{images:,} image{'s' * (images != 1)} of {protocol.data.name}, " if protocol.data else ""
        scale = f", severities for {protocol.scale} pixels" if protocol.scale else ""
        banks = f"banks {' '.join(protocol.banks)}, seed {protocol.seed}"
        labels = labels_in_words(self.images) if self.images is not None else ""
        said = protocol.preprocessing, f"{what}{shifts:,} shift{'s' * (shifts != 1)}{scale}, {banks}", labels
        return [text for text in said if text]

    def former(self, path: Path) -> Former:
        """What becomes of a table that is there already."""
        return read_former(path, self.protocol, self.shifts)

    def compute(
        self,
        out: Path | None = None,
        group: dist.ProcessGroup | None = None,
        callback: PartCallback | None = None,
        listener: PartListener | None = None,
    ) -> Results:
        """Compute what was asked for, shift by shift; see :func:`renorm.evaluate.evaluate`."""

        def step(done: float, total: int, shift: Shift) -> None:
            if callback:
                callback(done, total, shift.label)

        def told(shift: Shift, accuracies: Mapping[str, float]) -> None:
            if listener:
                listener(shift.label, [f"{name} {value:.1%}" for name, value in accuracies.items()])

        named, images, choices, shifts, adapt, protocol, _ = self
        options = {"adapt": adapt, "protocol": protocol, "out": out, "group": group}
        whole = evaluate(named.classifier, images, choices, shifts, callback=step, listener=told, **options)
        return whole.subset(protocol.banks, [(shift.name, shift.severity) for shift in shifts])

    def overall(self, results: Results) -> Mapping[str, Mapping[str, Interval]]:
        """Mean accuracies, and mean corruption errors."""
        return overview(results, self.alexnet)


def prepare(named: NamedModel, asked: Evaluation, *, model: str = "", command: str = "") -> ClassifierTable:
    """Read the images, make the banks and the shifts of a table.

    Args:
        named: The model.
        asked: What to evaluate.
        model: What the model is called in the table.
        command: What was typed, if anything was.

    Raises:
        ValueError: If there are no images, no such bank or shift, or an option would do nothing.
        FileNotFoundError: If images are not where they were.
    """
    train, images = _images(named, asked, model)
    chosen = _shifts(named, asked, images, train)
    _check_used(asked, chosen)
    own = (*usual(named.classifier.branches), *unknown(named.classifier.model))
    names = asked.banks or [name for name in own if train or not name.startswith("clean@")]
    choices = _choices(named, asked, names, train)
    owners = (*named.classifier.branches, *unknown(named.classifier.model))
    adapt = Adapted(named.classifier, images, owners, asked.adapt, asked.prior) if asked.adapt else None
    about = {"model": model, "training": named.training, "command": command, "preprocessing": str(named.preprocessing)}
    protocol = describe(named.classifier, images, choices, chosen, adapt.made if adapt else {}, **about)
    if asked.alexnet is not None:
        check_standard(chosen)
    return ClassifierTable(named, images, choices, chosen, adapt, protocol, asked.alexnet)


def views_of(named: NamedModel, images: Images) -> Callable[[str], View]:
    """Makes views of images by name, with the settings the model was trained with."""
    config, size = named.config.on(images.name), images[0][0].shape[-1]
    return lambda name: config.view(name, size)


def _images(named: NamedModel, asked: Evaluation, model: str) -> tuple[Images | None, Images | None]:
    """Training images, if any bank is measured on them, and those to evaluate on, if not all shifts bring their own."""
    if asked.train is not None and not _measures(named, asked):
        raise ValueError(
            f"--train {asked.train} with the banks {' '.join(asked.banks) or 'of a plain model'}: none is measured on training "
            "images. Leave it out, or name one that is, as --banks clean@BRANCH."
        )
    train, images = _own_images(named, asked, model)
    train = named.images(asked.train, "train") if asked.train else train
    images = named.images(asked.data, skip_damaged=asked.skip_damaged) if asked.data else images
    if images is None and (not asked.shifts or any(is_made(name) or name == "domains" for name in asked.shifts)):
        raise ValueError("no images to evaluate on: a model given by name has none of its own. Add --data.")
    if images is not None and asked.num_images and asked.num_images < len(images):
        images = sample(images, asked.num_images, asked.seed)
    return train, images if images is None else named.classifier.in_order(images)


def _own_images(named: NamedModel, asked: Evaluation, model: str) -> tuple[Images | None, Images | None]:
    """A run's own images, read only where they are used."""
    trained = asked.train is None and _measures(named, asked)
    tested = asked.data is None and _changes(named, asked)
    if not named.about or not (trained or tested):
        return None, None
    try:
        train, test = read(named.config)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error} These are the images that {model} was trained with: name others by --data and --train, or banks "
            "that are not measured on them by --banks."
        ) from error
    return train if trained else None, test if tested else None


def _measures(named: NamedModel, asked: Evaluation) -> bool:
    """Whether a bank is measured on training images."""
    by_view = any("@" in name for name in (*asked.banks, asked.attacks.attack_branch or ""))
    return by_view or (not asked.banks and bool(named.classifier.branches))


def _changes(named: NamedModel, asked: Evaluation) -> bool:
    """Whether a shift changes the data, or is one of its domains, and does not bring images of its own."""
    return (
        named.config.by_domain
        or not asked.shifts
        or any(is_made(name) or name == "domains" or not _is_path(name) for name in asked.shifts)
    )


def _choices(named: NamedModel, asked: Evaluation, names: Sequence[str], train: Images | None) -> Mapping[str, Choice]:
    """Banks of some names."""
    training = TrainingImages(train, seed=asked.seed, make_view=views_of(named, train) if train else None)
    return choose(named.classifier, names, named.classifier.branches, training)


def _shifts(named: NamedModel, asked: Evaluation, images: Images | None, train: Images | None) -> list[Shift]:
    """The shifts to evaluate under, in the order they were named."""
    config = named.config
    own = ["pgd:10"] * config.adversarial + ["domains"] * (config.by_domain and asked.data is None)
    names = asked.shifts or (*DEFAULT, *own)
    threat = threat_of(asked.attacks, config, lambda name: _choices(named, asked, [name], train))
    return [shift for name in names for shift in _shifts_of(name, named, asked, images, threat)]


def _shifts_of(name: str, named: NamedModel, asked: Evaluation, images: Images | None, threat: Threat) -> list[Shift]:
    """The shifts that a name stands for."""
    if images is not None and (name == "domains" or (name in (images.domains or ()) and not is_made(name))):
        return domains(images, () if name == "domains" else (name,), asked.seed)
    if not is_made(name) and _is_path(name):
        classes = named.classifier.classes or (images.classes if images else ())
        frame = named.preprocessing.frame or (square(images[0][0].shape[-1]) if images else None)
        how = frame and replace(named.preprocessing, frame=frame)
        read = read_shifts(Path(name), classes=classes, model=how, num_images=asked.num_images, seed=asked.seed)
        origin = Origin(name, str(Path(name).resolve()), frame=frame, drawn=(asked.num_images, asked.seed))
        return [replace(shift, images=replace(shift.images, origin=origin)) for shift in read]
    make_view = views_of(named, images) if images is not None else _unviewed
    return make_shifts([name], make_view, asked.seed, scale=asked.scale, rounding=asked.rounding, threat=threat)


def _check_used(asked: Evaluation, chosen: Sequence[Shift]) -> None:
    """Refuse options of shifts that are not among the chosen ones."""
    corrupted = any(shift.severity and shift.images is None for shift in chosen)
    attacked = any(shift.adversary is not None for shift in chosen)
    for given, used, what, remedy in (
        (asked.scale is not None, corrupted, "--scale", "a corruption, as quick"),
        (asked.rounding != Evaluation.rounding, corrupted, "--rounding", "a corruption, as quick"),
        (asked.attacks != ThreatOptions(), attacked, changed(asked.attacks), "an attack, as pgd:10"),
    ):
        if given and not used:
            names = ", ".join(dict.fromkeys(shift.name for shift in chosen))
            raise ValueError(
                f"{what} with the shifts {names}: it would do nothing. Leave it out, or name {remedy}, among --shifts."
            )


def _is_path(name: str) -> bool:
    """Whether a shift is a folder or a file."""
    return "/" in name or Path(name).exists()


def _unviewed(name: str) -> View:
    """Refuse a view where there is no data to show."""
    raise ValueError(f"no images for the shift {name}: it needs data to change. Add --data.")
