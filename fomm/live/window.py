"""A window for live results, by tkinter, which comes with Python."""

import numpy as np

from fomm.errors import InputError, MissingExtraError, shown
from fomm.live.screens import Screen, Status, title
from fomm.media.resize import resize

SMALLEST = 512  # pixels: results are enlarged so far, at least; those of small networks would hardly be seen
_KEYS = {"r": "reset", "R": "reset", "q": "quit", "Q": "quit", "Escape": "quit"}
_INSTEAD = "or write to a file or a device by --output"


class Window(Screen):
    """Shows results and takes keys: r begins anew, q or Escape ends; a context manager that closes it.

    Attributes: ``root``, tkinter's window.

    Raises:
        MissingExtraError: this Python has no tkinter. InputError: there is no display.
    """

    def __init__(self, name: str) -> None:
        try:
            import tkinter
        except ImportError as reason:
            raise MissingExtraError(
                "a window needs tkinter, which this Python lacks: install python3-tk (Debian, Ubuntu), "
                f"python3-tkinter (Fedora) or python-tk (Homebrew), {_INSTEAD}"
            ) from reason
        try:
            self.root = tkinter.Tk(className="fomm live")
        except tkinter.TclError as reason:
            raise InputError(
                f"no window can be opened: {shown(reason)}; run it on a desktop, {_INSTEAD}"
            ) from reason
        self._new_image = tkinter.PhotoImage
        self._wishes: list[str] = []
        self._label = tkinter.Label(self.root, borderwidth=0)
        self._label.pack()
        self.root.title(f"fomm live: waiting for {name}")
        self.root.protocol("WM_DELETE_WINDOW", lambda: self._wishes.append("quit"))
        self.root.bind("<Key>", lambda event: self._wishes.append(_KEYS.get(event.keysym, "")))
        self.root.update()

    def show(self, picture: np.ndarray, status: Status) -> None:
        size = fitted(picture.shape[:2], (self.root.winfo_screenheight(), self.root.winfo_screenwidth()))
        if size != picture.shape[:2]:
            picture = resize(picture, size, "bilinear")
        data = b"P6 %d %d 255\n" % size[::-1] + picture.tobytes()
        image = self._new_image(master=self.root, data=data, format="ppm")
        self._label.configure(image=image)
        self._image = image  # Tk does not keep it
        self.root.title(f"{title(status)} (r: reset, q: quit)")
        self.root.update()

    def wish(self) -> str | None:
        self.root.update()
        wishes = [wish for wish in self._wishes if wish]
        self._wishes.clear()
        return "quit" if "quit" in wishes else wishes[0] if wishes else None

    def __enter__(self) -> "Window":
        return self

    def __exit__(self, *_: object) -> None:
        self.root.destroy()


def fitted(size: tuple[int, int], screen: tuple[int, int]) -> tuple[int, int]:
    """Height and width at which a picture is shown: never larger than nine tenths of the screen."""
    largest = min(0.9 * room / side for side, room in zip(size, screen, strict=True))
    scale = min(max(1.0, SMALLEST / max(size)), largest)
    height, width = (max(1, round(side * scale)) for side in size)
    return height, width
