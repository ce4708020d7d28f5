"""What the server can be told."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from vecsec_client import AsyncVecSecClient

_LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


class ConfigurationError(Exception):
    """A setting that the server cannot run with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What holds over stdio and over HTTP."""

    gateway: str = "localhost:50051"
    """`host:port` of the VecSec gateway."""
    tenant: str | None = None
    """The tenant that is asked; None means the one that the user's token names."""
    tenant_claim: str = "tenant_id"
    """Where a token names its tenant. The gateway judges by its own rules whether it may."""
    characters: int = 20_000
    """How much text of documents an answer holds at most: a model's context is small and dear."""
    timeout: float = 20.0
    """Seconds for a call of the gateway, with its retries."""
    root_certificates: Path | None = None
    """Certificates (PEM) to trust instead of the usual ones."""
    client_certificate: Path | None = None
    client_key: Path | None = None
    plaintext: bool | None = None
    """Whether to do without encryption; None means only for a gateway on this machine."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigurationError: naming the setting.
        """
        if not 1_000 <= self.characters <= 1_000_000:
            raise ConfigurationError(f"characters: must be 1,000 to 1,000,000, not {self.characters:,}")

    def connect(self) -> AsyncVecSecClient:
        """A connection without a token of its own: whoever calls through it brings one.

        Raises:
            ConfigurationError: if the certificates cannot be read or contradict other settings.
        """
        try:
            return AsyncVecSecClient(
                self.gateway,
                token=None,
                timeout=self.timeout,
                root_certificates=self.root_certificates,
                client_certificate=self.client_certificate,
                client_key=self.client_key,
                plaintext=self.plaintext,
            )
        except (ValueError, OSError) as error:
            raise ConfigurationError(str(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings(Settings):
    """What a server over HTTP has to know besides."""

    resource: str
    """The server's own address to its users, such as https://mcp.example.org/mcp. Tokens have to be for it (`aud`)."""
    issuer: str
    """Where users get tokens: the address of the OAuth authorization server."""
    host: str = "127.0.0.1"
    port: int = 8000

    def __post_init__(self) -> None:
        """Refuse what cannot work, or would send tokens in the clear.

        Raises:
            ConfigurationError: naming the setting.
        """
        Settings.__post_init__(self)
        for name in ("resource", "issuer"):
            value = getattr(self, name)
            address = urlsplit(value)
            is_local = address.scheme == "http" and address.hostname in _LOCAL_HOSTS
            if not address.hostname or not (address.scheme == "https" or is_local):
                raise ConfigurationError(
                    f"{name}: must be an https address, or of this machine, not {getattr(self, name)!r}"
                )
            if address.fragment or address.query:
                raise ConfigurationError(
                    f"{name}: must have neither query nor fragment, as {getattr(self, name)!r} has"
                )

    @property
    def path(self) -> str:
        """Where on its host the server answers."""
        return urlsplit(self.resource).path.rstrip("/") or "/"

    @property
    def origin(self) -> str:
        """The server's own origin, as browsers write it."""
        address = urlsplit(self.resource)
        return f"{address.scheme}://{address.netloc}"

    @property
    def own_host(self) -> str:
        """The host, and the port if it is named, that users write."""
        return urlsplit(self.resource).netloc
