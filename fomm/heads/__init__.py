"""Talking heads that are drawn, not photographed. Start with ``dataset.make_dataset``."""
