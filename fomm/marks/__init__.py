"""Marks of origin: what fomm writes into its results, and how they are found again."""

from fomm.marks.credentials import Credentials, Signer
from fomm.marks.embedding import Marker, mark
from fomm.marks.inspection import Inspection, describe_inspection, inspect_file, name_weights
from fomm.marks.payload import Origin
from fomm.marks.reading import FALSE_ALARM, Reading, read_mark
from fomm.marks.sidecar import write_sidecar

__all__ = [
    "FALSE_ALARM",
    "Credentials",
    "Inspection",
    "Marker",
    "Origin",
    "Reading",
    "Signer",
    "describe_inspection",
    "inspect_file",
    "mark",
    "name_weights",
    "read_mark",
    "write_sidecar",
]
