"""Pictures, a driving clip and scripts; `fomm.bundled` finds them."""
