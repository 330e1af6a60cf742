"""Each domain of the data as a shift."""

from collections.abc import Sequence

from renorm.data import Images
from renorm.shifts.shift import Shift


def domains(images: Images, names: Sequence[str] = (), seed: int = 0) -> list[Shift]:
    """Each domain of the data as a shift.

    Args:
        images: With domains.
        names: Those wanted; by default all.
        seed: Of the draw of images to adapt to.

    Raises:
        ValueError: If the data have no domains, or no image of one.
    """
    return [Shift(name, seed=seed, images=images.of_domain(name)) for name in names or images.domains or [""]]
