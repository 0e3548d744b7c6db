"""Random hard budgets on three spaces, and whether they are kept."""
