"""Few measured networks against a table of all blocks, on the computer that this runs on."""
