"""Live changes: watched, tried by a process of its own, put in force by one assignment."""
