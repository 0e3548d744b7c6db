"""Does search find better networks? Trains, searches and measures by a plan, and writes
docs/evidence.md from the output files."""
