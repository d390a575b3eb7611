"""The errors that a user of fomm can meet: one sentence with what came, what was expected, what to do."""


def shown(text: object, longest: int = 100) -> str:
    """What a file says of itself, fit for a sentence: one printable line that cannot steer a terminal."""
    line = " ".join(str(text)[: longest + 1].split())
    line = "".join(sign if sign.isprintable() else "?" for sign in line)
    return line if len(line) <= longest else line[: longest - 3] + "..."


class FommError(Exception):
    """Base of every error that fomm raises on purpose; the command line prints it as one line."""


class ConfigError(FommError, ValueError):
    """A configuration that cannot be read, has an unknown key or a value of the wrong kind."""


class CheckpointError(FommError, ValueError):
    """A file of weights that cannot be read safely or does not fit the network."""


class MediaError(FommError, ValueError):
    """An image or a video that cannot be read or written."""


class InputError(FommError, ValueError):
    """An argument (array, option, device) that cannot be used."""


class TrainingError(FommError):
    """A training that cannot go on; what is on disk stays as it was."""


class ExportError(FommError):
    """A network that does not come out the same for another program, or cannot be written."""


class MissingExtraError(FommError, ImportError):
    """An optional package that is not installed, or cannot be loaded on this machine."""
