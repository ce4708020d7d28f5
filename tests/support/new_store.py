"""Leave to begin stores, for services whose tests are about something else."""

from datetime import UTC, datetime

ANY_TIME = datetime(2999, 1, 1, tzinfo=UTC)
