"""What each tenant and caller may use of this gateway, and of what is behind it."""
