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
    if images.domains is None or images.domain is None:
        raise ValueError(
            f"{images.name} has no domains: a Parquet file with a column 'domain' is needed. Write one, or leave the shift "
            "'domains' out."
        )
    found = []
    for name in names or images.domains:
        members = (images.domain == images.domains.index(name)).nonzero()[:, 0]
        if not len(members):
            raise ValueError(
                f"no image of the domain {name} is among the {len(images)} of {images.name}: a shift needs at least one. "
                "Evaluate on more images."
            )
        found.append(Shift(name, seed=seed, images=images.subset(members)))
    return found
