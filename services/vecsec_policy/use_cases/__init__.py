"""What the policy service does with a call: plan, explain, report; `decisions` has the gate of them all, and check."""
