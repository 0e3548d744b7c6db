"""What a run has made, for a person to read: one self-contained page, and the summary table for a
terminal. Reads files alone."""
