"""Adapting a deployed model to a stream of batches."""

from __future__ import annotations

from dataclasses import asdict
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from torch import nn

from renorm.adapt.claims import claim, fill, noted, release, values
from renorm.adapt.file import StoredStream, check_fits, identity, read, write
from renorm.adapt.preparation import Foreign, preparation
from renorm.adapt.reference import Reference, as_reference
from renorm.adapt.state import State, StreamEvent, StreamSettings
from renorm.adapt.step import ADAPTED, SOURCE, BrokenImagesError, Kept, StreamStep, blended
from renorm.adapt.watched import Watched
from renorm.banks import (
    Branch,
    Counted,
    Forward,
    Samples,
    SiteTensors,
    call,
    check_one_batch,
    counted,
    exclusive,
    nothing,
    observed,
    of_other_kinds,
    read_elsewhere,
    resolve,
    site_tensors,
    unreached,
    without,
)


class EmptyBatchError(ValueError):
    """A batch without images."""

    def __init__(self) -> None:
        super().__init__(
            "no image was given. A stream is made of batches of at least one. Check the loader, or let such batches pass by "
            "invalid='skip'. Nothing was changed."
        )


class Adapter(Watched):
    r"""A deployed model whose statistics follow the images it is given, batch after batch, without labels.

    At every site the moments of images are pooled exactly, an image's weight falling by :math:`\lambda = (M - 1)/(M + 1)` with
    each one after it, so that in the end M effective images are known. A batch is added to them first, then the site
    normalizes by

    .. math:: s \mu_{source} + (1 - s) \mu, \qquad s = \frac{\text{prior}}{\text{prior} + n}

    and likewise for variances, with n independent images; by default they move by half or more of what is beyond sampling noise
    (:func:`renorm.adapt.excess.moved`). Those remembered count for fewer where images of the stream are
    alike, as known before the batch (:func:`renorm.adapt.step.alikeness`). The model keeps what the last batch
    installed. Weights, modes and dropout are left alone.

    Before that, each full block of images is compared with the memory at the first site, whose features no adaptation has
    touched (:func:`renorm.adapt.change.change`). If they look different, the memory is emptied and starts with that block.

    Reduces to: :func:`renorm.adapt_` for the first batch and ``memory=inf``.

    Cost: one forward per batch; two under ``prior="auto"``, the first of which measures the source's own features.

    Args:
        prior: how many images the source is worth; ``inf`` is the source bit for bit. ``"auto"``, the default, reads it off
            what is remembered, and keeps the source where that may be chance: see :func:`renorm.adapt.evidence.auto_weight`.
        branch: whose statistics follow: by default the active route's, else the only one.
        memory: M, how many images are known in the end.
        block: how many images are compared at a time; a larger batch is a block of its own.
        false_alarms: how often the test takes a block of independent images for a change; 0 is no test.
        smallest: changes below so many standard deviations of images are none, however certain.
        on_change: ``"reset"`` starts a new memory; ``"source"`` goes back to the source until :meth:`reset`.
        invalid: what to do with NaN, infinity or an empty batch: ``"raise"``, or ``"skip"``: answer with the present
            statistics and learn nothing.
        reference: images of the normal condition, prepared just as those of the stream, or a bank or
            :class:`renorm.Reference` that keeps how far these are: ``"auto"`` then moves only where images are farther.
        foreign: what to do with batches that look prepared for another model (range, normalization, order of colours):
            ``"keep"`` answers with the present statistics, learns nothing and reports it; ``"adapt"`` takes them.
        forward: ``forward(model, images)`` for images of another form.
        samples: how many images a batch has, or a function of it that says so; counted by default, as in :func:`adapt_`.
        folded: the order of rows where sites see several for each image, as in :func:`renorm.route`; without it such sites keep
            the source.
        strict: refuse batches that do not reach every site.

    An adapter that is dropped unclosed leaves the model adapted; the next one of that model starts from the source all the same.

    Raises:
        ValueError: options out of range, a model without running statistics.
        RuntimeError: another adapter holds the same statistics.

    Reference: Schneider et al., *Improving robustness against common corruptions by covariate shift adaptation*, 2020.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
        >>> with renorm.Adapter(model, prior=64) as adapter:
        ...     for images in torch.randn(3, 32, 3, 5, 5):
        ...         outputs = adapter(images)
        ...     round(adapter.source_weight, 2)
        0.41
    """

    def __init__(
        self,
        model: nn.Module,
        prior: float | Literal["auto"] = "auto",
        branch: Branch = None,
        *,
        memory: float = 256,
        block: int = 16,
        false_alarms: float = 1e-3,
        smallest: float = 0.2,
        on_change: Literal["reset", "source"] = "reset",
        invalid: Literal["raise", "skip"] = "raise",
        reference: Any = None,
        foreign: Literal["keep", "adapt"] = "keep",
        forward: Forward | None = None,
        samples: Samples = None,
        folded: str | None = None,
        strict: bool = False,
    ) -> None:
        self._settings = StreamSettings(prior, memory, block, false_alarms, smallest, on_change, invalid, foreign)
        self._model, self._branch, self._forward = model, resolve(model, branch), forward
        self._samples, self._folded, self._strict = samples, folded, strict
        with exclusive(model):
            self._claim = claim(model, self._branch, self)
        self._source = self._claim.source
        self._state = State()
        self._apart: tuple[str, ...] = ()
        self._closed = False
        self._foreign: Foreign | None = None
        self._reference = self._usual(reference)

    def _usual(self, reference: Any) -> Reference | None:
        try:
            with exclusive(self._model):
                return as_reference(
                    reference,
                    self._model,
                    self._branch,
                    forward=self._forward,
                    samples=self._samples,
                    folded=self._folded,
                )
        except BaseException:
            release(self._model, self._claim)
            raise

    def __call__(self, images: Any) -> Any:
        """Add a batch to the memory, adapt the model, and return its outputs for the batch, without gradients.

        Whatever is raised, an interruption too, the model and the memory are as before the batch.

        Args:
            images: one batch, as the model takes it: a tensor, a tuple whose first entry is the input, or a dict of keywords.

        Raises:
            ValueError: no image, NaN or infinity (unless they are skipped), no site that was reached, or others than before.
            RuntimeError: the adapter is closed, or somebody else has changed the statistics or uses the model right now.
        """
        if self._samples is None:  # else the user knows what it is
            check_one_batch(images, "the adapter, one at a time")
        self._check_open()
        with exclusive(self._model):
            targets = site_tensors(self._model, self._branch)
            self._check_untouched(targets)
            images = counted(images, self._samples, whole=self._forward is not None, folded=self._folded)
            try:
                if not images.samples:
                    raise EmptyBatchError
                return self._adapted(images, targets)
            except (BrokenImagesError, EmptyBatchError):
                if self._settings.invalid == "raise":
                    raise
                self._state = self._state.noted(StreamEvent(self._state.images, "skipped"))
                return self._answered(images, targets)

    def _answered(self, images: Any, targets: dict[str, SiteTensors]) -> Any:
        """The model's outputs as it is."""
        with observed(self._model, targets, self._branch, nothing):
            return call(self._model, images, self._forward)

    def _adapted(self, images: Counted, targets: dict[str, SiteTensors]) -> Any:
        step = StreamStep(self._state, self._settings, self._source, images, self._reference, self._apart)
        before = self._foreign
        try:
            if self._looks_foreign(images, targets):
                fill(targets, self._claim.installed)
                if before is None:
                    self._state = self._state.noted(StreamEvent(self._state.images, "foreign"))
                return self._answered(images, targets)
            if self._settings.prior == "auto":
                fill(targets, self._source)
                with observed(self._model, targets, self._branch, step.look):
                    call(self._model, images, self._forward)
                unreached(targets, step.reached(SOURCE), self._strict, apart=step.apart)
            with observed(self._model, targets, self._branch, step.install):
                output = call(self._model, images, self._forward)
            self._check_same(unreached(targets, step.reached(ADAPTED), self._strict, apart=step.apart))
            if read_elsewhere(self._model, targets):  # before what is installed now
                output = self._answered(images, targets)
            step.read(output)
            state, installed = step.result(), values(targets)
        except BaseException:
            fill(targets, self._claim.installed)
            raise
        self._state, self._claim.installed, self._apart = state, installed, step.apart
        return output

    def _looks_foreign(self, images: Counted, targets: dict[str, SiteTensors]) -> bool:
        """Whether a batch was prepared for another model, as the source's first site shows."""
        if self._settings.foreign == "adapt":
            return False
        fill(targets, self._source)
        self._foreign = preparation(self._model, images, targets, self._branch, images.samples, forward=self._forward)
        return self._foreign is not None

    def _check_same(self, left_out: tuple[str, ...]) -> None:
        if self._state.positions and left_out != self.unreached:
            now, then = (", ".join(names) or "none" for names in (left_out, self.unreached))
            raise ValueError(
                f"this batch did not reach the sites {now}, those before it did not reach {then}. A memory is of the same sites "
                f"throughout. Call the model in one way, or reset() the adapter."
            )

    def reset(self) -> None:
        """Empty the memory and give the model its source statistics back; the next batch starts anew."""
        self._check_open()
        with exclusive(self._model):
            targets = site_tensors(self._model, self._branch)
            self._check_untouched(targets)
            old, self._apart = self._state, ()
            state = State(images=old.images, resets=old.resets + 1, events=old.events).noted(
                StreamEvent(old.images, "reset")
            )
            fill(targets, self._source)
            self._state, self._claim.installed = state, values(targets)

    def close(self, *, discard: bool = False) -> None:
        """Give the model its source statistics back, bit for bit. A second call does nothing more.

        Args:
            discard: also overwrite what somebody else has changed since, a forward in training mode for example.

        Raises:
            RuntimeError: somebody else has changed the statistics since; or uses the model right now.
        """
        if self._closed:
            return
        with exclusive(self._model):
            targets = site_tensors(self._model, self._branch)
            if not discard:
                self._check_untouched(targets)
            fill(targets, self._source)
            self._closed = True
            release(self._model, self._claim)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write everything that is remembered to a safetensors file, from which :meth:`load` goes on to the same numbers.

        Raises:
            OSError: the file cannot be written; a former one is kept.
        """
        self._check_open()
        model = identity(self._model, site_tensors(self._model, self._branch), self._source)
        return write(path, StoredStream(self._settings, self._branch, self._state, model, self._reference))

    @classmethod
    def load(
        cls,
        model: nn.Module,
        path: str | PathLike[str],
        *,
        forward: Forward | None = None,
        samples: Samples = None,
        folded: str | None = None,
        strict: bool = False,
    ) -> Adapter:
        """Go on where a saved adapter was, with the same settings, on a model as it was without it.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not an adapter's file, a broken one, or one of a model with other weights or statistics.
        """
        stored = read(path)
        options = asdict(stored.settings)
        adapter = cls(
            model,
            options.pop("prior"),
            stored.branch,
            **options,
            reference=stored.reference,
            forward=forward,
            samples=samples,
            folded=folded,
            strict=strict,
        )
        try:
            adapter._resume(stored, Path(path))
        except BaseException:
            adapter.close()
            raise
        return adapter

    def _resume(self, stored: StoredStream, path: Path) -> None:
        targets = site_tensors(self._model, self._branch)
        if stored.identity != identity(self._model, targets, self._source):
            raise ValueError(
                f"{path} is of a model with other weights or statistics. What it remembers would not fit these features. "
                f"Load the model as it was before its adapter, which close() gives back."
            )
        check_fits(path, stored.state, self._source)
        self._state = stored.state
        if not stored.state.images or stored.state.weight == 1:
            return
        memory, positions = self._remembered(), stored.state.positions
        kept = Kept(self._settings.prior == "auto", stored.state.weight, stored.state.samples)
        blends = {
            name: blended(site, memory.records[ADAPTED + name], memory.weights, positions[ADAPTED + name], kept)
            for name, site in self._source.items()
            if name not in self.unreached
        }
        fill({name: targets[name] for name in blends}, blends)
        self._claim.installed = values(targets)

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(
                "the adapter is closed, and its model is the source again. A batch needs an open one. "
                "Start a new one by renorm.Adapter(model), or load a saved one."
            )

    def _check_untouched(self, targets: dict[str, SiteTensors]) -> None:
        if not self._claim.left(targets):
            raise RuntimeError(
                f"the model's statistics are no longer those that the adapter installed: {self!r}. Going on would lose that "
                f"change. Undo it, or let it go by close(discard=True), or give the adapter a copy of the model of its own."
            )

    def __enter__(self) -> Adapter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with noted(error):
            self.close()

    def __repr__(self) -> str:
        if self._closed:
            return f"adapter, closed after {self.num_images} images"
        there = self.overall
        left = without(self.unreached, apart=self._apart, others=of_other_kinds(self._model))
        return (
            f"adapter of {len(self._source)} sites{left} after {self.num_images} images and "
            f"{self.num_resets} resets: source weight {self.source_weight:.3g}, {there.value:.3g} sd away "
            f"(noise {there.noise:.2g})"
        )
