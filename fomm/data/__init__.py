"""Videos of the world made into training sets: clips of one size below ``train/`` and ``test/``."""
