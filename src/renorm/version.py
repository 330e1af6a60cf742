"""The version of renorm, for the package and for what files say of the versions they were written by."""

__version__ = "0.1.0"
