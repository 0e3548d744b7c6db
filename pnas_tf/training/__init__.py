"""Training of one plain network: schedules, steps, replicas. Knows nothing of search."""
