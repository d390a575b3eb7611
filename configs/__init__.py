"""The configurations that ship; `fomm.bundled` finds them."""
