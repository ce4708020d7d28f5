"""Collections in memory: rows, ids, exact scan, and the budget they share."""
