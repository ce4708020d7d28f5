"""How much is tried: little by default, more where VECSEC_FAULTS says how many kills."""

import os

KILLS = max(10, int(os.environ.get("VECSEC_FAULTS", "10")))
KILLS_A_CELL = 10
POWER_CUTS = max(4, 3 * KILLS // 10)
