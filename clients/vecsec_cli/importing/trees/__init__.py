"""Files as sources: what the store has of them, what is sent, and what is gone."""
