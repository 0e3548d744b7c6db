"""Equal networks that run faster: which there are, and which a device wants."""
