"""What a person would not know, and may want otherwise: told as a warning of its own class, a line of a command."""

from __future__ import annotations

import warnings


class Notice(UserWarning):
    """Something was chosen or used that nobody asked for by name; ``warnings.filterwarnings`` tells these from others."""


def notice(text: str) -> None:
    """Tell something in a line, to whoever called the function that calls this."""
    warnings.warn(text, Notice, stacklevel=3)
