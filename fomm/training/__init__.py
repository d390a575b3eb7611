"""Training: data, losses, the loop. ``loop.train`` is the way in."""
