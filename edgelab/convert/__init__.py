"""A network in, a model file out, and the file is checked against the network before it is kept."""
