"""Collections in memory, or mapped into it: rows, ids, exact scan, and the budget they share."""
