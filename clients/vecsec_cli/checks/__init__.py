"""What `vecsec doctor` looks at. Every check only reads."""
