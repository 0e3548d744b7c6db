"""Images, schedules, checkpoints and the training of one plain network. Knows nothing of search or
of the supernet."""
