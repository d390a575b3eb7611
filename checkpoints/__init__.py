"""The weights that ship; `fomm.bundled` finds them."""
