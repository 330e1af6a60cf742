"""How pictures are stylized, as it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Manner:
    """What becomes of pictures.

    Args:
        style: Pictures, folders of pictures of one style, or banks, each perhaps with its weight: monet.jpg
            wheat.safetensors=0.3.
        alpha: 1 is the style, 0 the decoder's reconstruction of the picture; between and beyond linear.
        keep_colors: Give each picture its own colours: style pictures are recoloured to it first.
        own: Normalize all pictures by the moments of this one, a picture, a folder or a bank: frames of a film do not flicker.
        masks: For each style a picture as large as the content, white where it is: regions with styles of their own.
        draw: Give each picture one of the styles, drawn by the seed and its number; every picture of a folder is a style then.
        seed: Of the draw.
        style_size: Scale style pictures to this short side in pixels; by default they keep their size. It counts: at half or
            twice the size a picture is another style.
        bound: The most that deviations are enlarged; without it the noise of a nearly flat picture may be enlarged 300 times.
        memory: Gigabytes for a picture; larger ones are computed in tiles, which gives the same pixels.
    """

    style: tuple[str, ...] = ()
    alpha: float = 1.0
    keep_colors: bool = False
    own: Path | None = None
    masks: tuple[Path, ...] = ()
    draw: bool = False
    seed: int = 0
    style_size: int | None = None
    bound: float | None = None
    memory: float = 2.0

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            ValueError: If so.
        """
        if not self.style:
            raise ValueError("no style was named: pictures need one. Add --style FILE, a picture or a bank.")
        if self.masks and (self.draw or len(self.masks) != len(self.style)):
            raise ValueError(
                f"{len(self.masks)} masks and {len(self.style)} styles{' of which one is drawn' if self.draw else ''} were "
                f"given: a mask for each style is needed. Name as many, in the same order, without --draw."
            )
        if self.masks and self.keep_colors:
            raise ValueError("--masks with --keep-colors: regions have no colours of their own. Leave one out.")
        for name, value in (("memory", self.memory), ("style-size", self.style_size), ("bound", self.bound)):
            if value is not None and value <= 0:
                raise ValueError(f"--{name} {value:g}: a number above 0 is needed. Give one, or leave it out.")
