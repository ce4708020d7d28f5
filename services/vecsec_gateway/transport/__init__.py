"""Channels to peers: rotated with certificates, with lanes that carry unary calls."""
