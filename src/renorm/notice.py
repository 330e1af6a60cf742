"""What a person would not know, and may want otherwise: told as a warning of its own class."""

from __future__ import annotations


class Notice(UserWarning):
    """Something was chosen or used that nobody asked for by name; ``warnings.filterwarnings`` tells these from others."""
