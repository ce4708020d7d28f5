"""The shared flag USE_REAL_VECTOR_RETRIEVAL: the environment sets its default, a watched file overrides it, per tenant.

    async with real_retrieval_flag(settings.use_real_vector_retrieval, settings.flag_file, meter) as flag:
        flag.is_on("tenant_a")

The file is in flagd's format, with the flag `use_real_vector_retrieval` and the context attribute `tenant_id`; on
Kubernetes it is a ConfigMap. The environment's value counts where no file is named, or the file has no rule for our
flag. A file that is named and not there at the start means off, until it is there: it may have been a kill switch. One
that breaks or goes away while it is watched changes nothing.
"""

import contextlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import structlog
from openfeature import api
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason
from openfeature.provider.no_op_provider import NoOpProvider
from opentelemetry.metrics import Meter
from pydantic import BeforeValidator, Field

from vecsec_chassis.background import running_in_background
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.file_watch import FileContent, SettledChanges, file_content, keep_looking
from vecsec_chassis.flag.flag_file import (
    FLAG_KEY,
    NO_FLAGS,
    OFF,
    BrokenFlagFile,
    FlagDocument,
    PutFlagsProvider,
    parse_document,
    tenant_context,
)
from vecsec_chassis.settings import OptionalPath, ServiceSettings
from vecsec_chassis.telemetry.metrics import observe_value

log = structlog.get_logger()

_MAXIMUM_MEMOISED_TENANTS = 10_000
_COMPLAINT = "VECSEC_FLAG_FILE={file}: {broken}; correct it, or write it anew: `vecsec flag set on`, or `off`"
_LOST = "Flag file is not there, real retrieval is off until it is"
_ON = frozenset({"true", "1", "on", "yes"})
_OFF = frozenset({"false", "0", "off", "no"})


def parse_switch(value: object) -> bool:
    """Read a switch as people write it.

    Raises:
        ValueError: for anything else than true, false, 1, 0, on, off, yes or no.
    """
    word = str(value).strip().lower()
    if word in _ON:
        return True
    if word in _OFF:
        return False
    raise ValueError("must be true, false, 1, 0, on, off, yes or no")


class FlagSettings(ServiceSettings):
    """Settings of the services that obey the shared flag."""

    use_real_vector_retrieval: Annotated[bool, BeforeValidator(parse_switch)] = Field(
        True, alias="USE_REAL_VECTOR_RETRIEVAL"
    )
    """Whether real retrieval is on where no flag file says otherwise; off, no real row leaves retrieval."""
    flag_file: OptionalPath = Field(None, alias="VECSEC_FLAG_FILE")
    """A flag file in flagd's format (JSON; YAML if named so) that overrides the default, live and per tenant. Named, it
    has to be there: a service that starts without it takes real retrieval for off until it is."""


class RealRetrievalFlag:
    """Whether real vector retrieval is on for a tenant. Made by `real_retrieval_flag`; safe to ask from any thread."""

    def __init__(self, default: bool, file: Path | None, meter: Meter) -> None:
        self._default = default
        self._file = file
        self._provider = PutFlagsProvider(file or Path("flags.json"))
        # A domain of its own: two services in one process (tests do that) must not share a provider.
        self._domain = f"vecsec-{uuid.uuid4().hex}"
        self._client = api.get_client(self._domain)
        self._memo: dict[str, bool] = {}
        self._file_errors = meter.create_counter(
            "vecsec_feature_flag_file_errors",
            description="Flag files that could not be taken; the last good one stays.",
        )
        self._file_errors.add(0)  # so that `rate()` sees the first one
        observe_value(
            meter,
            "vecsec_feature_flag",
            "Whether real retrieval is on (1) or off (0) for tenants without a rule of their own.",
            lambda: self.default_value,
        )

    def is_on(self, tenant_id: str) -> bool:
        """Whether real rows may be read for this tenant."""
        memo = self._memo  # if the file changes meanwhile, the answer goes into a memo that nobody reads any more
        value = memo.get(tenant_id)
        if value is None:
            value = self._evaluate(tenant_id)
            if len(memo) >= _MAXIMUM_MEMOISED_TENANTS:
                memo.clear()
            memo[tenant_id] = value
        return value

    @property
    def default_value(self) -> bool:
        """Whether real retrieval is on for tenants without a rule of their own."""
        return self._client.get_boolean_value(FLAG_KEY, self._default)

    def load_first(self) -> None:
        """Take the file as it is at the start.

        Raises:
            ConfigurationError: if it is there but broken.
        """
        api.set_provider_and_wait(self._provider, self._domain)
        document = first_flags(self._file)
        if document is OFF:
            self._file_errors.add(1)
            remedy = "`vecsec flag set on` writes it; without VECSEC_FLAG_FILE the environment counts"
            log.warning(_LOST, file=str(self._file), remedy=remedy)
        self._put(document)

    async def look(self, files: SettledChanges[FileContent]) -> None:
        """Take a change of the flag's file that has come to rest; a broken one leaves the last good value."""
        content = await files.changed_content()
        if content is None:
            return
        try:
            self._put(_document_of_change(content, self._file))
        except BrokenFlagFile as broken:
            self._file_errors.add(1)
            log.warning("Flag file is broken, the last good value stays", file=str(self._file), reason=str(broken))

    def close(self) -> None:
        """Let the provider go."""
        api.set_provider(NoOpProvider(), self._domain)

    def _put(self, document: FlagDocument) -> None:
        self._provider.put(document)
        self._memo = {}  # after the put: an answer from the old flags must not land in the new memo
        details = self._client.get_boolean_details(FLAG_KEY, self._default)
        from_file = details.variant is not None and details.reason != Reason.ERROR
        log.info(
            "Feature flag",
            flag=FLAG_KEY,
            value=details.value,
            source=str(self._file) if from_file else "USE_REAL_VECTOR_RETRIEVAL",
        )

    def _evaluate(self, tenant_id: str) -> bool:
        details = self._client.get_boolean_details(FLAG_KEY, self._default, tenant_context(tenant_id))
        if details.error_code not in {None, ErrorCode.FLAG_NOT_FOUND}:
            log.warning(
                "Flag rule failed, the environment's value counts",
                tenant_id=tenant_id,
                value=details.value,
                reason=details.error_message or str(details.error_code),
            )
        return details.value


def first_flags(file: Path | None) -> FlagDocument:
    """The flags of the file as it is at the start: none, if no file is named, and off, if it is not there.

    Raises:
        ConfigurationError: if it is there but broken.
    """
    if file is None:
        return NO_FLAGS
    found = file_content(file)
    if found == FileContent():
        return OFF
    try:
        return _document(found, file)
    except BrokenFlagFile as broken:
        raise ConfigurationError(_COMPLAINT.format(file=file, broken=broken)) from broken


def _document_of_change(found: FileContent, file: Path | None) -> FlagDocument:
    """The flags of a file that changed.

    Raises:
        BrokenFlagFile: if it is there but broken, or gone: who loses a kill switch has not switched anything on.
    """
    if found == FileContent():
        raise BrokenFlagFile("it is gone; write it again: a service that starts without it takes it for off")
    return _document(found, file)


def _document(found: FileContent, file: Path | None) -> FlagDocument:
    """The flags of a file that is there.

    Raises:
        BrokenFlagFile: if it is broken.
    """
    if found.content is None:
        raise BrokenFlagFile(found.problem or "it cannot be read")
    return parse_document(found.content, is_yaml=file is not None and file.suffix in {".yaml", ".yml"})


@asynccontextmanager
async def real_retrieval_flag(default: bool, file: Path | None, meter: Meter) -> AsyncIterator[RealRetrievalFlag]:
    """The flag, watched for as long as the context lasts.

    Raises:
        ConfigurationError: if the file is there but broken.
    """
    flag = RealRetrievalFlag(default, file, meter)
    with contextlib.closing(flag):
        if file is None:
            flag.load_first()
            yield flag
            return
        files = SettledChanges(lambda: file_content(file))
        flag.load_first()
        async with running_in_background(keep_looking(lambda: flag.look(files)), "watch the flag file"):
            yield flag
