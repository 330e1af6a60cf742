"""The image formats that are read, and what their files are called."""

from __future__ import annotations

from pathlib import PurePath

FORMATS: dict[str, tuple[str, ...]] = {  # Pillow's raster formats; never those that run programs or hold documents
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "AVIF": (".avif", ".avifs"),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "JPEG2000": (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "QOI": (".qoi",),
    "ICO": (".ico",),
    "PCX": (".pcx",),
    "DDS": (".dds",),
    "SGI": (".sgi", ".rgb", ".rgba", ".bw"),
    "TGA": (".tga", ".icb", ".vda", ".vst"),  # last: its files begin with nothing that could be known
}
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
KINDS = "JPEG, PNG, WebP, AVIF, GIF, BMP, TIFF, JPEG 2000 and other raster images"
HEIC = frozenset((".heic", ".heif", ".hif"))


def is_image(name: str) -> bool:
    """Whether a file is called as images are.

    Example:
        >>> is_image("a.JFIF"), is_image("a.heic"), is_image("._a.png")
        (True, False, False)
    """
    return PurePath(name).suffix.lower() in SUFFIXES and not is_left_behind(name)


def is_left_behind(name: str) -> bool:
    """Whether a file or folder is hidden, or one that systems leave behind.

    Example:
        >>> [is_left_behind(name) for name in (".ipynb_checkpoints", "__MACOSX", "Thumbs.db", "cat")]
        [True, True, True, False]
    """
    return name.startswith(".") or name.lower() in LEFT_BEHIND


LEFT_BEHIND = frozenset(
    (
        *("__macosx", "__pycache__", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
    )
)
