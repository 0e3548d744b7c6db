"""This computer as a device: LiteRT in a child process."""
