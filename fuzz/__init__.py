"""Coverage-guided fuzzing of the doors through which files come in; see docs/bad-input.md."""
