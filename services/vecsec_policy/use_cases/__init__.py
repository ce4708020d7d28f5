"""What the policy service does with a call: plan, check, explain, report."""
