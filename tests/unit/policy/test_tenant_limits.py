"""`limits:` of tenants.yaml: what is not said is generous, what makes no sense is refused with file and line."""

from pathlib import Path
from shutil import copytree

import pytest

import vecsec_policy
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.domain.tenant_limits import GENEROUS, TenantLimits
from vecsec_policy.in_force.snapshot import load_snapshot


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(copytree(Path(vecsec_policy.__file__).with_name("default_policy"), tmp_path / "policy"))


def limits_of(folder: Path, text: str) -> dict[str, TenantLimits]:
    (folder / "tenants.yaml").write_text(text)
    return {name: tenant.limits for name, tenant in load_snapshot(folder).tenants.items()}


def test_a_tenant_that_says_nothing_has_generous_limits(folder: Path) -> None:
    assert set(limits_of(folder, "tenants: {tenant_a: {topics: [rag]}}").values()) == {GENEROUS}


def test_limits_are_the_tenants_own_or_the_defaults_or_generous(folder: Path) -> None:
    read = limits_of(
        folder,
        """
defaults:
  limits: {searches_per_second: 50, bytes: 20G}
tenants:
  tenant_a: {topics: [rag], limits: {searches_per_second: 0.5, rows: 1000, concurrent_calls: 3}}
  tenant_b:
    topics: [rag]
    limits: {bytes: 500M, import_rows_per_second: 100, caller_units_per_second: 10.5, dear_units_per_second: 30}
""",
    )
    assert read["tenant_a"] == TenantLimits(searches_per_second=0.5, rows=1000, concurrent_calls=3, bytes=20 << 30)
    assert read["tenant_b"] == TenantLimits(
        searches_per_second=50,
        bytes=500 << 20,
        import_rows_per_second=100,
        caller_units_per_second=10.5,
        dear_units_per_second=30,
    )


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ("searches_per_second: 0", "searches_per_second of tenant 'tenant_a' must be a number from 0.01 to 1e+06"),
        ("searches_per_second: -5", "searches_per_second of tenant 'tenant_a' must be a number from 0.01 to 1e+06"),
        ("searches_per_second: .inf", "must be a number from 0.01 to 1e+06"),
        ("searches_per_second: .nan", "must be a number from 0.01 to 1e+06"),
        ("searches_per_second: many", "must be a number from 0.01 to 1e+06"),
        ("concurrent_calls: 0", "concurrent_calls of tenant 'tenant_a' must be a number from 1 to 100000"),
        ("concurrent_calls: 2.5", "concurrent_calls of tenant 'tenant_a' must be a whole number"),
        ("rows: 0", "rows of tenant 'tenant_a' must be a number from 1 to 1e+11"),
        ("rows: 1e30", "rows of tenant 'tenant_a' must be a number from 1 to 1e+11"),
        ("bytes: 0", "bytes of tenant 'tenant_a' must be a size from 1M to 1024T, such as 500M or 20G, not '0'"),
        ("bytes: 3", "bytes of tenant 'tenant_a' must be a size from 1M to 1024T, such as 500M or 20G, not '3'"),
        ("bytes: -2G", "not '-2G'"),
        ("bytes: [1G]", "bytes of tenant 'tenant_a' must be a size"),
        ("import_rows_per_second: 0", "import_rows_per_second of tenant 'tenant_a' must be a number from 0.1 to 1e+07"),
        ("caller_units_per_second: 1e9", "caller_units_per_second of tenant 'tenant_a' must be a number from 0.01"),
        ("searches_per_minute: 3", "searches_per_minute"),
    ],
)
def test_what_makes_no_sense_is_refused_with_file_and_line(folder: Path, said: str, complaint: str) -> None:
    text = f"tenants:\n  tenant_a:\n    topics: [rag]\n    limits:\n      {said}\n"
    with pytest.raises(ConfigurationError) as refusal:
        limits_of(folder, text)
    assert complaint in str(refusal.value)
    assert str(refusal.value).startswith(f"{folder / 'tenants.yaml'}:5: ")
    with pytest.raises(ConfigurationError, match=rf"tenants\.yaml:3: .*{said.partition(':')[0]}.*"):
        limits_of(folder, f"defaults:\n  limits:\n    {said}\ntenants: {{tenant_a: {{topics: [rag]}}}}\n")


def test_the_defaults_may_say_nothing_but_limits(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"tenants\.yaml:1: .*topics"):
        limits_of(folder, "defaults: {topics: [rag]}\ntenants: {tenant_a: {topics: [rag]}}\n")


def test_a_changed_limit_is_another_version_of_the_policy(folder: Path) -> None:
    before = load_snapshot(folder).version
    limits_of(folder, (folder / "tenants.yaml").read_text() + "\ndefaults: {limits: {rows: 5}}\n")
    assert load_snapshot(folder).version != before
