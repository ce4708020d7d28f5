"""The folder of an embedded store: whose it is, what disk it is on, and how many files may be open."""
