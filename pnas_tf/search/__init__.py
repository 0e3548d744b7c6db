"""Learning the architecture: sampling gates, gradients for alpha, objectives, the search loop, and
deriving the result."""
