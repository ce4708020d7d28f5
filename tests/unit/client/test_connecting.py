"""Encryption, tokens, and what the SDK exports and needs."""

import asyncio
import builtins
import collections.abc
import inspect
import subprocess
import sys
import typing
from pathlib import Path

import grpc
import pytest
import trustme
from langchain_core import documents
from support.certificates import Authority
from support.fake_gateway import FakeGateway, running

import vecsec_client
from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec_client import (
    AsyncVecSecClient,
    LabelPage,
    Unauthenticated,
    Unavailable,
    VecSecClient,
    token_from_environment,
    token_from_file,
)
from vecsec_client.channels import Endpoint, is_loopback
from vecsec_client.retrying import NO_RETRIES

PUBLIC_NAMES = """
Action ActionWord AllOf AnyOf AsyncTokenProvider AsyncVecSecClient AttributeValue BatchAnswer Change DataLoss
DeadlineExceeded DecidingValue DeleteResult DeterminingRule DocumentIdPage DocumentInput DocumentsAnswer
DocumentsRejected Equals Exists Explanation ExportPage FieldViolation ForeignAccess ForeignAccessPage
ImportProgress ImportSummary In Internal InvalidArgument LabelCount LabelPage MetadataFilter MockReason
NO_RETRIES NamedReader Not NotFound OfSources PermissionDenied PolicyStatus PossibleReaders Provenance
QueryAnswer QueryFailure Range ReadingRole RealRetrievalUnavailable RejectedDocument RelabelResult
ResourceExhausted RetryPolicy Scalar ScoredDocument SearchAnswer SearchMode SearchModeWord SearchQuery
Sensitivity SensitivityWord ShadowDisagreements SimilarityMetric Source SourceLabel SourcePage SourcePassage
TenantUsage TextContains TokenProvider Unauthenticated Unavailable VecSecClient VecSecError Violation
ViolationCounts ViolationPage ViolationType ViolationWord all_of any_of as_source at_least at_most between
equals exists in_ less_than missing more_than not_ of_file of_source split_documents static_token text_contains
token_from_environment token_from_file
"""


@pytest.mark.parametrize(
    "address",
    [
        "localhost:50051",
        "LOCALHOST:50051",
        "127.0.0.1:1",
        "127.9.9.9:1",
        "[::1]:50051",
        "dns:///localhost:1",
        "ipv4:127.0.0.1:1",
        "unix:/tmp/x",
    ],
)
def test_this_machine_needs_no_encryption(address: str) -> None:
    assert is_loopback(address)
    assert not Endpoint(address).is_encrypted


@pytest.mark.parametrize(
    "address",
    [
        "gateway:50051",
        "10.0.0.1:50051",
        "localhost.example.org:1",
        "127.0.0.1.example.org:1",
        "0.0.0.0:1",
        "[::]:1",
        "",
    ],
)
def test_everything_else_is_encrypted_unless_said_otherwise(address: str) -> None:
    assert not is_loopback(address)
    assert Endpoint(address).is_encrypted
    assert Endpoint(address).credentials() is not None
    assert Endpoint(address, plaintext=True).credentials() is None


def test_certificates_and_plaintext_contradict_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="plaintext"):
        VecSecClient("localhost:1", token="t", root_certificates=tmp_path / "ca.pem", plaintext=True)


def test_missing_certificates_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"ca\.pem"):
        VecSecClient("gateway:1", token="t", root_certificates=tmp_path / "ca.pem")


def test_tls_with_a_private_authority_and_only_with_it(tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    certificate = authority.issue_cert("localhost")
    credentials = grpc.ssl_server_credentials(
        [(certificate.private_key_pem.bytes(), b"".join(each.bytes() for each in certificate.cert_chain_pems))]
    )
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    other.cert_pem.write_to_path(tmp_path / "other.pem")
    gateway = FakeGateway(answers={"ListCollections": gateway_pb2.ListCollectionsResponse()})
    with running(gateway, credentials) as address:
        with VecSecClient(
            address, token="t", default_tenant="tenant_a", root_certificates=tmp_path / "ca.pem"
        ) as client:
            assert client.list_collections() == ()
        for distrustful in ({"root_certificates": tmp_path / "other.pem"}, {"plaintext": True}, {"plaintext": False}):
            with (
                VecSecClient(
                    address,
                    token="t",
                    default_tenant="tenant_a",
                    retry_policy=NO_RETRIES,
                    timeout=5,
                    **distrustful,  # type: ignore[arg-type]
                ) as client,
                pytest.raises(Unavailable),
            ):
                client.list_collections()
    assert len(gateway.received) == 1


def test_a_client_certificate_is_shown_to_a_gateway_that_asks(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.settings("gateway")
    roots, pair = tmp_path / "ca.crt", authority.issue("assistant.example")
    (tmp_path / "key").write_bytes(pair.key)
    (tmp_path / "certificate").write_bytes(pair.certificate)
    chain = [(Path(str(own[f"VECSEC_TLS_{name}_FILE"])).read_bytes()) for name in ("KEY", "CERTIFICATE")]
    credentials = grpc.ssl_server_credentials([(chain[0], chain[1])], roots.read_bytes(), require_client_auth=True)
    gateway = FakeGateway(answers={"ListCollections": gateway_pb2.ListCollectionsResponse()})
    usual = {"token": "t", "default_tenant": "tenant_a", "retry_policy": NO_RETRIES, "root_certificates": roots}
    shown = {"client_certificate": tmp_path / "certificate", "client_key": tmp_path / "key"}
    with running(gateway, credentials) as address:
        with VecSecClient(address, **usual, **shown) as client:  # type: ignore[arg-type]
            assert client.list_collections() == ()
        with VecSecClient(address, **usual, timeout=5) as client, pytest.raises(Unavailable):  # type: ignore[arg-type]
            client.list_collections()
    with pytest.raises(ValueError, match="go together"):
        VecSecClient("gateway:1", token="t", client_key=tmp_path / "key")


def test_a_token_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    provide = token_from_environment("SOME_TOKEN")
    monkeypatch.delenv("SOME_TOKEN", raising=False)
    with pytest.raises(Unauthenticated, match="SOME_TOKEN"):
        provide()
    monkeypatch.setenv("SOME_TOKEN", " abc\n")
    assert provide() == "abc"


def test_a_token_from_a_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "token"
    provide = token_from_file(path)
    with pytest.raises(Unauthenticated, match="cannot read"):
        provide()
    path.write_text("one\n")
    assert provide() == "one"
    path.write_text("two\n")
    assert provide() == "two"
    for useless in (b"", b"\xff"):
        path.write_bytes(useless)
        with pytest.raises(Unauthenticated):
            provide()


def test_the_public_names() -> None:
    assert sorted(vecsec_client.__all__) == sorted(PUBLIC_NAMES.split())
    assert all(hasattr(vecsec_client, name) for name in vecsec_client.__all__)
    others = {name for module in (builtins, typing, collections.abc, asyncio, documents) for name in vars(module)}
    assert not others & set(vecsec_client.__all__), "`import *` hides nothing of others"
    assert vecsec_client.Document.__name__ == "Document"


@pytest.mark.parametrize("client", [VecSecClient, AsyncVecSecClient])
def test_calls_tell_what_they_take_and_give(client: type[VecSecClient | AsyncVecSecClient]) -> None:
    signature = inspect.signature(client.list_labels)
    assert list(signature.parameters) == ["self", "tenant", "page_size", "page_token", "timeout"]
    assert signature.return_annotation is LabelPage
    assert "Go on with the page's `next_page_token`" in (inspect.getdoc(client.list_labels) or "")
    assert inspect.iscoroutinefunction(client.list_labels) is (client is AsyncVecSecClient)


def test_the_sdk_needs_none_of_the_services_libraries() -> None:
    heavy = ("chromadb", "cedarpy", "numpy", "opentelemetry", "pydantic", "vecsec_chassis", "typer", "rich")
    script = f"import sys, vecsec_client; print(*[name for name in {heavy!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []
