"""Training: from a folder of clips to weights. ``loop.train`` is the way in.

The loop: ``loop`` is the page to read first. ``schedule`` says how long it goes on, ``step`` changes the
weights once, and ``state`` holds networks and optimisers, on disk too. ``logs`` and ``visualize`` write what
happens, ``interruption`` and ``distributed`` deal with signals and several processes.

The data: ``dataset`` makes batches of clips and frames that ``sampler`` and ``extremes`` choose. ``truth``
and ``flow`` are what is exactly known of drawn clips. ``augmentation`` changes a batch at random.

What is minimised: ``objective`` runs the networks and collects the weighted losses. ``terms`` chooses these,
``losses`` and ``perceptual`` compute them. ``needs`` says what they need of the data, ``windows`` cuts out
what is painted and compared, and ``transfer`` drives a person as if by another.
"""
