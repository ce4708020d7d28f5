"""The audit log: records, the chain that binds them, its files, and its proof."""
