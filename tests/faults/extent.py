"""How much is tried: little by default, more where VECSEC_FAULTS says how many kills."""

import os

KILLS = max(10, int(os.environ.get("VECSEC_FAULTS", "10")))
KILLS_A_CELL = 10
MANY = KILLS >= 100
POWER_CUTS = max(4, 3 * KILLS // 10)

DONE_TO_A_CELL = "done to a cell"
"""The property of a test whose values are printed at the end of the run."""
