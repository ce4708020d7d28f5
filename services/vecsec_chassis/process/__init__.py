"""A service as a process: start, checks before it, writable folders, signals, systemd."""
