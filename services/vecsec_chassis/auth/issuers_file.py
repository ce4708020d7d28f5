"""The issuers file: whose tokens are accepted, where keys are, how claims are read, and for whom an issuer may speak.

It is YAML if it is named so, else JSON. What it says is checked here as a whole, before any of it counts.
"""

import re
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from vecsec_chassis.auth import claim_rules
from vecsec_chassis.auth.claim_mapping import ANY, MOST_GROUP_STARS, Bounds, ClaimMapping, GroupBound
from vecsec_chassis.auth.claim_rules import ClaimRule
from vecsec_chassis.auth.issuers_text import strictly_parsed
from vecsec_chassis.auth.key_fetching import KeyAddress
from vecsec_chassis.auth.signatures import ALLOWED_ALGORITHMS
from vecsec_chassis.domain.access import AttributeValue
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_chassis.domain.readers import LONGEST_GROUP_NAME, is_group_name
from vecsec_chassis.file_watch import demand_content

SETTING = "VECSEC_ISSUERS_FILE"
YAML_SUFFIXES = frozenset({".yaml", ".yml"})
_URL = ("http://", "https://")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_YEAR_SECONDS = 366 * 86_400.0
_DAY_SECONDS = 86_400.0
_OURS = "Value error, "
"""What pydantic writes before our own words."""
_ATTRIBUTE = re.compile(r"[a-z][a-z0-9_]{0,62}")
_OWN_ATTRIBUTES = frozenset({"subject", "tenant", "tenant_id", "role", "clearance", "groups", "reader_names", "issuer"})
"""What a caller has anyway."""


def _seconds(value: object) -> object:
    """A duration as people write it: seconds, or `30m`, `12h`, `7d`."""
    if isinstance(value, str):
        found = re.fullmatch(r"(\d{1,9})([smhd])", value)
        if found is None:
            raise ValueError("must be a number of seconds, or one with a unit: 30m, 12h, 7d")
        return int(found[1]) * _UNITS[found[2]]
    return value


def _clearance(value: object) -> object:
    if isinstance(value, str) and value in Sensitivity.__members__:
        return Sensitivity[value]
    raise ValueError("must be one of " + ", ".join(Sensitivity.__members__))


def _as_path(value: object) -> object:
    return {"path": value} if isinstance(value, str) else value


Text = Annotated[str, Field(min_length=1)]
Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0, le=100 * _YEAR_SECONDS)]
GroupPattern = Annotated[str, Field(min_length=1, max_length=LONGEST_GROUP_NAME)]
TenantPattern = Annotated[str, Field(pattern=r"^[a-z0-9_*-]{1,63}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Rule(_Part):
    path: Text | None = None
    constant: str | int | bool | None = None
    values: dict[str, str] | None = None
    first_of: Annotated[list[Text], Field(min_length=1)] | None = None
    default: str | int | bool | None = None

    @model_validator(mode="after")
    def _demand_one_origin(self) -> Self:
        if (self.path is None) == (self.constant is None):
            raise ValueError("needs either a path or a constant")
        if self.path is None and (self.values, self.first_of, self.default) != (None, None, None):
            raise ValueError("a constant has no table, order or default")
        if self.path is not None:
            claim_rules.Path(self.path)  # which says what is wrong with it
        unreachable = set(self.first_of or ()) - set((self.values or {}).values())
        if self.values is not None and unreachable:
            raise ValueError(f"first_of lists {min(unreachable)!r}, which the table never gives")
        return self

    def compiled(self) -> ClaimRule:
        path = None if self.path is None else claim_rules.Path(self.path)
        default: AttributeValue | None = self.default if self.constant is None else self.constant
        return ClaimRule(path, self.values, tuple(self.first_of or ()), default)


class _TextRule(_Rule):
    constant: Text | None = None
    default: Text | None = None


TextRule = Annotated[_TextRule, BeforeValidator(_as_path)]
AnyRule = Annotated[_Rule, BeforeValidator(_as_path)]


class _Claims(_Part):
    subject: TextRule = _TextRule(path="sub")
    tenant: TextRule = _TextRule(path="tenant_id")
    role: TextRule = _TextRule(path="role")
    clearance: TextRule = _TextRule(path="clearance")
    groups: TextRule | None = None
    attributes: dict[str, AnyRule] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _demand_what_can_be(self) -> Self:
        for name in self.attributes:
            if _ATTRIBUTE.fullmatch(name) is None or name in _OWN_ATTRIBUTES:
                raise ValueError(f"attributes: {name!r} can be no further attribute's name")
        if self.subject.path is None:
            raise ValueError("subject: a constant would make one caller of all")
        if self.groups is not None and self.groups.first_of is not None:
            raise ValueError("groups: all of them count, so there is no first_of")
        return self

    def compiled(self) -> ClaimMapping:
        return ClaimMapping(
            subject=self.subject.compiled(),
            tenant=self.tenant.compiled(),
            role=self.role.compiled(),
            clearance=self.clearance.compiled(),
            # Whoever writes a mapping says which groups count; without one, claims have our own names.
            groups=ClaimRule(None) if self.groups is None else self.groups.compiled(),
            attributes={name: rule.compiled() for name, rule in self.attributes.items()},
        )


class _Bounds(_Part):
    tenants: Annotated[list[TenantPattern], Field(min_length=1)] | None = None
    roles: Annotated[list[Text], Field(min_length=1)] | None = None
    max_clearance: Annotated[Sensitivity, BeforeValidator(_clearance)] = Sensitivity.SECRET
    groups: Annotated[list[GroupPattern], Field(max_length=1_000)] | None = None
    """Names and patterns of groups; an empty list for none."""
    max_lifetime: Seconds = _YEAR_SECONDS

    @model_validator(mode="before")
    @classmethod
    def _demand_something(cls, bounds: object) -> object:
        """A file that ends behind `groups:` would say that there is no bound."""
        for name, value in bounds.items() if isinstance(bounds, dict) else ():
            if value is None:
                none = ", or say [] for none" if name == "groups" else ""
                raise ValueError(f"nothing stands behind {str(name)[:60]!r}; leave it out{none}")
        return bounds

    @field_validator("groups")
    @classmethod
    def _demand_names(cls, groups: list[str] | None) -> list[str] | None:
        for name in groups or ():
            if not is_group_name(name):
                raise ValueError(f"{name[:60]!r} can be no group's name")
        # Each is tried on each of a caller's groups, while all other calls wait.
        stars = sum(name.count(ANY) for name in groups or ())
        if stars > MOST_GROUP_STARS:
            raise ValueError(
                f"{stars:,} stars in the patterns, more than {MOST_GROUP_STARS}; list names, of which there may be "
                "1,000, or give the groups a common beginning"
            )
        return groups


class TrustedIssuer(_Part):
    """One issuer whose tokens are accepted, as the file says it."""

    issuer: Text
    """The exact value of the claim `iss`."""
    audience: Text | None = None
    audiences: Annotated[list[Text], Field(min_length=1)] | None = None
    """The values of which the claim `aud` must hold one; one of the two."""
    jwks: Text | None = None
    """Path (relative to the issuers file) or http(s) URL of its public keys."""
    discovery: bool = False
    """Whether its OpenID configuration says where they are."""
    ca_file: Path | None = None
    token_file: Path | None = None
    keep_keys: Seconds = _DAY_SECONDS
    """For how long the last good keys are believed while no newer ones can be had: tokens rarely live for longer."""
    algorithms: Annotated[list[str], Field(min_length=1)]
    """Signature algorithms it may use."""
    claims: _Claims | None = None
    bounds: _Bounds = _Bounds()

    @model_validator(mode="before")
    @classmethod
    def _demand_something(cls, issuer: object) -> object:
        """A file that ends behind `claims:` would have them read by names that are VecSec's."""
        given = issuer if isinstance(issuer, dict) else {}
        for name in ("claims", "bounds"):
            if name in given and given[name] is None:
                raise ValueError(f"nothing stands behind {name!r}; leave it out")
        return issuer

    @model_validator(mode="after")
    def _demand_whole(self) -> Self:
        if (self.audience is None) == (self.audiences is None):
            raise ValueError("needs either audience or audiences")
        if (self.jwks is None) == (not self.discovery):
            raise ValueError("needs either jwks (a path or URL) or discovery: true")
        if self.discovery and not self.issuer.startswith(_URL):
            raise ValueError(f"issuer {self.issuer!r} is no URL, so nothing can be discovered there")
        if self.key_file is not None and (self.ca_file or self.token_file):
            raise ValueError("ca_file and token_file are for keys behind a URL")
        if self.token_file is not None and self.address.is_open_to_eavesdroppers:
            raise ValueError("token_file needs https, for anybody on the way would learn the token")
        forbidden = sorted(set(self.algorithms) - ALLOWED_ALGORITHMS)
        if forbidden:
            raise ValueError(
                f"issuer {self.issuer!r} lists algorithm {forbidden[0]!r}; "
                f"allowed are {', '.join(sorted(ALLOWED_ALGORITHMS))}"
            )
        return self

    @property
    def accepted_audiences(self) -> tuple[str, ...]:
        """The values of which `aud` must hold one."""
        return tuple(self.audiences or [self.audience or ""])

    @property
    def key_file(self) -> Path | None:
        """The file of its keys; None if they are behind a URL."""
        return None if self.jwks is None or self.jwks.startswith(_URL) else Path(self.jwks)

    @property
    def address(self) -> KeyAddress:
        """Where its keys are, if they are behind a URL."""
        return KeyAddress(
            self.jwks or self.issuer,
            discovered_for=self.issuer if self.discovery else None,
            ca_file=self.ca_file,
            token_file=self.token_file,
        )

    @property
    def mapping(self) -> ClaimMapping:
        """How its claims are read."""
        return ClaimMapping() if self.claims is None else self.claims.compiled()

    @property
    def limits(self) -> Bounds:
        """For whom it may speak."""
        roles = None if self.bounds.roles is None else frozenset(self.bounds.roles)
        groups = None if self.bounds.groups is None else GroupBound.of(self.bounds.groups)
        return Bounds(self.bounds.tenants, roles, self.bounds.max_clearance, groups)

    def seen_from(self, folder: Path) -> "TrustedIssuer":
        """The same with its files found from the folder of the issuers file."""
        files: dict[str, object] = {
            name: folder / path for name in ("ca_file", "token_file") if (path := getattr(self, name)) is not None
        }
        if self.key_file is not None:
            files["jwks"] = str(folder / self.key_file)
        return self.model_copy(update=files)


class _IssuersFile(_Part):
    issuers: Annotated[list[TrustedIssuer], Field(min_length=1)]

    @model_validator(mode="after")
    def _demand_each_once(self) -> Self:
        names = [each.issuer for each in self.issuers]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"lists issuer {name!r} twice")
        return self


def load_trusted_issuers(path: Path) -> list[TrustedIssuer]:
    """Read the issuers file.

    Raises:
        ConfigurationError: naming the file and what is wrong with it.
    """
    return parse_issuers(demand_content(path, f"{SETTING}={path}"), path)


def parse_issuers(content: bytes, path: Path) -> list[TrustedIssuer]:
    """The issuers of a file's content.

    Raises:
        ConfigurationError: naming the file and what is wrong with it.
    """
    try:
        issuers = _IssuersFile.model_validate(strictly_parsed(content, is_yaml=path.suffix in YAML_SUFFIXES)).issuers
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigurationError(
            f"{SETTING}={path}: no list of trusted issuers, or half of one: {_in_short(error)}; "
            "correct it, or write the whole file again"
        ) from error
    return [issuer.seen_from(path.parent) for issuer in issuers]


def has_url_without_tls(issuer: TrustedIssuer) -> bool:
    """Whether its keys come over a network without TLS, so that anybody on the way can be anybody."""
    return issuer.key_file is None and issuer.address.is_open_to_eavesdroppers


def host_of(issuer: TrustedIssuer) -> str | None:
    """The host of its keys; None if they are in a file."""
    return None if issuer.key_file is not None else urlsplit(issuer.address.url).hostname


def _in_short(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the file"
    return f"{where}: {first['msg'].removeprefix(_OURS)}"
