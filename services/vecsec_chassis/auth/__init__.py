"""Who calls, and what the policy service signed: tokens, grants, and the keys that verify them."""
