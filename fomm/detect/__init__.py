"""Whether a face in a video was changed: signs that are measured, and traces that a network was trained on."""
