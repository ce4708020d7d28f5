"""What decides now, for whom: snapshots, rollouts, and evaluation, which is pure."""
