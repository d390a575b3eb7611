"""Animate one photo from a driving video: the First Order Motion Model."""

from fomm._version import __version__

__all__ = ["__version__"]
