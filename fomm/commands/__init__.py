"""One module for each command: its options, and the call behind it. Only these and ``cli.py`` print."""
