"""Marks of origin: an invisible mark in what fomm writes, and how it is found again."""

from fomm.marks.embedding import Marker, mark
from fomm.marks.payload import Origin
from fomm.marks.reading import Reading, read_mark

__all__ = ["Marker", "Origin", "Reading", "mark", "read_mark"]
