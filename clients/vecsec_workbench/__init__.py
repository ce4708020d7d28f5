"""What security engineers do at their desks: `vecsec policy`, `audit`, `issuers`, `token inspect` and `panic`.

It stands on the policy service's own modules, so that what is tried out here decides as the service does. The command
line finds it as an entry point (`vecsec.commands`) and works without it where the services are not installed.
"""
