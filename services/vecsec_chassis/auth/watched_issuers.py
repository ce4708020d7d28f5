"""The issuers file while it changes: a good one is in force at once, a wrong one is told and changes nothing."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from vecsec_chassis.auth.issuers_file import SETTING, load_trusted_issuers, parse_issuers
from vecsec_chassis.auth.tokens import BelievedIssuer, TokenVerifier, believed
from vecsec_chassis.background import running_in_background
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.file_watch import FileContent, SettledChanges, file_content, keep_looking
from vecsec_chassis.telemetry.metrics import observe_value

log = structlog.get_logger()

ISSUERS = "vecsec.issuers"
"""The name under which the health service says whether the file as it is now is in force, and no issuer lacks keys."""
_RETRY_SECONDS = 10.0
"""For a file that was refused: keys that it names may be there by then."""

Show = Callable[[bool], Awaitable[None]]


class WatchedIssuers:
    """The trusted issuers in force, by whom tokens are verified."""

    def __init__(self, path: Path, meter: Meter, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file.

        Raises:
            ConfigurationError: naming the file and what is wrong with it.
        """
        self._path = path
        self._clock = clock
        self._files = SettledChanges(lambda: file_content(path))
        self.verifier = TokenVerifier(load_trusted_issuers(path))
        """Verifies by the issuers in force."""
        self._complaint: str | None = None
        self._waiting: tuple[float, FileContent] | None = None
        """A file that was refused, and when to judge it again."""
        self._errors = meter.create_counter(
            "vecsec_issuers_file_errors",
            description="Changed issuers files that could not be taken; the last good one stays.",
        )
        self._errors.add(0)  # so that `rate()` sees the first one
        observe_value(
            meter,
            "vecsec_issuers_file_refused",
            "Whether the issuers file as it is now was refused (1), so that the last good one is in force.",
            lambda: self._complaint is not None,
        )
        meter.create_observable_gauge(
            "vecsec_issuer_keys",
            callbacks=[self._observe_counts],
            description="Public keys of an issuer that are believed; none: its callers are told UNAVAILABLE.",
        )
        meter.create_observable_gauge(
            "vecsec_issuer_keys_age",
            callbacks=[self._observe_ages],
            unit="s",
            description="Since when no newer keys of an issuer could be had; not there before the first.",
        )

    @asynccontextmanager
    async def watching(self, show: Show) -> AsyncIterator[None]:
        """Look for changes until the block ends; `show` is told whether all is well."""

        async def look() -> None:
            await self.look()
            await show(self.is_well)

        async with running_in_background(keep_looking(look), "look for changed issuers"):
            yield

    @property
    def is_well(self) -> bool:
        """Whether the file as it is now is in force, and there are keys of every issuer, as they are now."""
        states = [each.signatory.keys.state for each in self.verifier.issuers]
        return self._complaint is None and not any(each.problem or each.count == 0 for each in states)

    async def look(self) -> None:
        """Judge each state in which the file comes to rest, and see to it that keys are fresh."""
        found = await self._files.changed_content()
        if found is None and self._waiting is not None and self._clock() >= self._waiting[0]:
            found = self._waiting[1]
        if found is not None:
            await self._judge(found)
        for each in self.verifier.issuers:
            each.signatory.keys.look()

    async def _judge(self, found: FileContent) -> None:
        self._waiting = self._clock() + _RETRY_SECONDS, found
        try:
            issuers = await asyncio.to_thread(self._prepared, found)
            await asyncio.gather(*(each.signatory.keys.warm() for each in issuers))
            problem = locked_out(issuers) or unbound(self.verifier.issuers, issuers)
            if problem is not None:
                raise ConfigurationError(f"{SETTING}={self._path}: {problem}")  # noqa: TRY301 (told as all others)
        except ConfigurationError as bad:
            self._refuse(str(bad))
            return
        self._waiting = None
        if issuers[0].trusted.issuer != self.verifier.first_issuer:
            log.warning(
                "rules that name callers by tenant and subject mean those of another issuer now",
                before=self.verifier.first_issuer,
                now=issuers[0].trusted.issuer,
            )
        withdrawn = {each.trusted.issuer for each in self.verifier.issuers} - {each.trusted.issuer for each in issuers}
        self.verifier.believe(issuers)
        self._complaint = None
        log.info(
            "issuers taken anew",
            file=str(self._path),
            issuers=[each.trusted.issuer for each in issuers],
            withdrawn=sorted(withdrawn),
        )

    def _prepared(self, found: FileContent) -> list[BelievedIssuer]:
        """The issuers of a changed file; keys that are looked for where they were stay."""
        if found.content is None:
            raise ConfigurationError(f"{SETTING}={self._path}: {found.problem or 'the file is gone'}; put it back")
        known = self.verifier.issuers
        return [
            believed(each, next((old.signatory.keys for old in known if old.has_keys_of(each)), None))
            for each in parse_issuers(found.content, self._path)
        ]

    def _refuse(self, complaint: str) -> None:
        if complaint != self._complaint:
            self._errors.add(1)
            log.error("changed issuers refused, the last good ones stay", reason=complaint)
        self._complaint = complaint

    def _observe_counts(self, _options: CallbackOptions) -> Iterable[Observation]:
        for each in self.verifier.issuers:
            yield Observation(each.signatory.keys.state.count, {"issuer": each.trusted.issuer})

    def _observe_ages(self, _options: CallbackOptions) -> Iterable[Observation]:
        for each in self.verifier.issuers:
            age = each.signatory.keys.state.age_seconds
            if age is not None:
                yield Observation(age, {"issuer": each.trusted.issuer})


def unbound(before: Sequence[BelievedIssuer], now: Sequence[BelievedIssuer]) -> str | None:
    """Which issuer would have a bound less; None if none would. YAML that was cut short is often valid, without what
    stands at its end: so a bound is not taken away by leaving it out while services run."""
    written = {each.trusted.issuer: each.trusted.bounds.model_fields_set for each in before}
    for each in now:
        gone = written.get(each.trusted.issuer, set()) - each.trusted.bounds.model_fields_set
        if gone:
            return (
                f"issuer {each.trusted.issuer!r} has lost its bound {min(gone)!r}, as in a file that is half written; "
                "write the whole file again, or restart to take it so"
            )
    return None


def locked_out(issuers: Sequence[BelievedIssuer]) -> str | None:
    """Why nobody at all could call if these issuers were in force: none has keys; None if somebody could."""
    states = {each.trusted.issuer: each.signatory.keys.state for each in issuers}
    if any(state.count for state in states.values()):
        return None
    reasons = "; ".join(f"{name!r}: {state.problem or 'its set of keys is empty'}" for name, state in states.items())
    return f"would lock everybody out, for no issuer is left whose keys can be read ({reasons})"
