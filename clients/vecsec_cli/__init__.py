"""The `vecsec` command. It talks to the services through the SDK and starts them as processes; it imports none of them."""
