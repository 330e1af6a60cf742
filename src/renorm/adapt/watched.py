"""What an adapter tells of its stream, to be watched while it runs."""

from __future__ import annotations

from collections.abc import Mapping

from renorm.adapt.change import Change
from renorm.adapt.distance import distances, overall
from renorm.adapt.memory import Memory, pooled
from renorm.adapt.preparation import Foreign
from renorm.adapt.reference import Reference
from renorm.adapt.state import Distance, State, StreamEvent, StreamSettings
from renorm.adapt.step import ADAPTED, Source, looked, worth
from renorm.adapt.verdict import Judgement, Verdict, judged


class Watched:
    """The numbers of a stream that can be read at any time; nothing here changes any."""

    _settings: StreamSettings
    _source: Mapping[str, Source]
    _state: State
    _foreign: Foreign | None
    _reference: Reference | None

    @property
    def unreached(self) -> tuple[str, ...]:
        """Sites that keep the source bit for bit, as the model's evaluation does not reach them, or as of the rows they see it is
        not known to which image they belong; none before the first batch.
        """
        return tuple(
            name for name in self._source if self._state.positions and ADAPTED + name not in self._state.positions
        )

    @property
    def verdict(self) -> Verdict | None:
        """Of the stream as it is remembered, ``"home"`` or ``"shifted"``, or of the last batch, ``"foreign"``.

        ``None`` before the first batch, and under a fixed prior, which does not look at the source's features.
        """
        return self._judgement.verdict

    @property
    def reason(self) -> str:
        """The verdict in a sentence."""
        return self._judgement.reason

    @property
    def _judgement(self) -> Judgement:
        found = None
        if self._settings.prior == "auto" and self._state.images:
            found = looked(self._remembered(), self._source, self.effective_images)
        return judged(self._foreign, found, self._reference)

    @property
    def source_weight(self) -> float:
        """The weight s that the source kept for the last batch; 1 before the first."""
        return self._state.weight

    @property
    def num_images(self) -> int:
        """How many images were seen."""
        return self._state.images

    @property
    def effective_images(self) -> float:
        """How many independent images the memory is worth."""
        return worth(self._remembered().weights.effective, self._state.alike, self._settings.fewest)

    @property
    def num_resets(self) -> int:
        """How often the memory was emptied."""
        return self._state.resets

    @property
    def abstaining(self) -> bool:
        """Whether the model is the source, bit for bit."""
        return self._state.weight == 1

    @property
    def events(self) -> tuple[StreamEvent, ...]:
        """What happened, the newest last; the last 1000 are kept."""
        return self._state.events

    @property
    def change(self) -> Change | None:
        """The newest comparison of a block of images with the memory: its size and how often chance does that."""
        return self._state.change

    @property
    def distance(self) -> dict[str, Distance]:
        """How far the images are from the source at each site, and how far chance puts them, in its standard deviations.

        Of a site's features as they are, behind sites that are adapted already.
        """
        return distances(self._remembered(), self._state.positions, self._source)

    @property
    def overall(self) -> Distance:
        """:attr:`distance` over all sites, as a root mean square."""
        return overall(self.distance)

    def _remembered(self) -> Memory:
        return pooled(self._state.memory, self._state.block)
