"""From a photo and a driving video to animated frames, in arrays or files.

Nothing is imported here: the table of options is read by ``--help``, which needs no torch.
"""
