"""The errors that fomm raises. Each is one sentence: what came, what was expected, what to do."""


def shown(text: object, longest: int = 100) -> str:
    """Return ``text`` as one printable line of at most ``longest`` characters.

    Texts from files go through here before they come into an error: they may hold line ends, codes that steer
    a terminal, or megabytes.
    """
    line = " ".join(str(text)[: longest + 1].split())
    line = "".join(sign if sign.isprintable() else "?" for sign in line)
    return line if len(line) <= longest else line[: longest - 3] + "..."


class FommError(Exception):
    """The base of every error that fomm raises on purpose; the command line prints it as one line."""


class ConfigError(FommError, ValueError):
    """A configuration that cannot be read, has an unknown key or a value of the wrong kind."""


class CheckpointError(FommError, ValueError):
    """A file of weights that cannot be read safely or does not fit the network."""


class MediaError(FommError, ValueError):
    """An image or a video that cannot be read or written."""


class InputError(FommError, ValueError):
    """An argument (array, option, device) that cannot be used."""


class TrainingError(FommError):
    """A training that cannot go on; its files on the disk stay as they are."""


class ExportError(FommError):
    """A network that cannot be exported: the exported one computes other numbers, or cannot be written."""


class MissingExtraError(FommError, ImportError):
    """An optional package that is not installed, or cannot be loaded on this machine."""
