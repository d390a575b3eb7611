"""How good weights are, in numbers. ``runner.evaluate`` is the way in."""
