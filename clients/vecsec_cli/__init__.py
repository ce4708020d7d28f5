"""The `vecsec` command. It talks to the services through the SDK and runs them as processes; it imports none."""
