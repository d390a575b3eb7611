"""Synthetic talking heads: drawn, not photographed. ``dataset.make_dataset`` is the way in."""
