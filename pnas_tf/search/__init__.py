"""Learning the architecture: sampling gates, gradients for alpha, objectives, the search loop, and
deriving the result."""

from pnas_tf._callable_room import make_callable

make_callable(__name__)
