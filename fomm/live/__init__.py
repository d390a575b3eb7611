"""A photo that moves while a camera looks: the session, its cameras and its screens."""

from fomm.live.session import Live, SessionSummary, run

__all__ = [
    "Live",
    "SessionSummary",
    "run",
]
