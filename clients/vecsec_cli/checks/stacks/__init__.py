"""How `vecsec doctor` looks at services that run elsewhere than under `vecsec up`: systemd, Compose, Kubernetes.

Each says which services there should be and how a program is run where one of them runs; the rest is alike.
"""
