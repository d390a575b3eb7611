"""Fuzz the readers of files, guided by coverage; see docs/bad-input.md."""
