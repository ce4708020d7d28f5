"""What `vecsec up` leaves on this machine and runs on it: state directory, processes, issuer, flag file."""
