"""Was a face in a video changed: signs that are measured, and traces that a network was trained on."""
