"""The day, as rules see it: a whole number such as 20260131, in UTC. It compares as days do."""

from datetime import UTC, datetime, timedelta

_FORMAT = "%Y%m%d"


def day_of(seconds: float) -> int:
    """The day of a time in seconds since the epoch."""
    return int(datetime.fromtimestamp(seconds, UTC).strftime(_FORMAT))


def start_of(day: int) -> float:
    """When a day begins, in seconds since the epoch."""
    return _date(day).timestamp()


def end_of(day: int) -> float:
    """When a day ends."""
    return (_date(day) + timedelta(days=1)).timestamp()


def day_before(day: int) -> int:
    """The day before."""
    return int((_date(day) - timedelta(days=1)).strftime(_FORMAT))


def _date(day: int) -> datetime:
    return datetime.strptime(str(day), _FORMAT).replace(tzinfo=UTC)
