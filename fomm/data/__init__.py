"""Clips to train on: cut out of videos, found in folders, and read."""
