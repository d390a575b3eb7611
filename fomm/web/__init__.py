"""A page in the browser, on the user's own machine: animate, edit, see inside. Needs the extra ``web``."""

from fomm.web.limits import Limits
from fomm.web.server import Server, start_server

__all__ = ["Limits", "Server", "start_server"]
