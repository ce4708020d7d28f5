"""The shared flag: the environment's default, the watched file over it, and what a broken or missing file does."""

import json
import os
import time
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from structlog.testing import capture_logs
from support.waiting import until

from vecsec_chassis import file_watch
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.file_watch import FileContent
from vecsec_chassis.flag import flag as flag_module
from vecsec_chassis.flag.flag import FlagSettings, real_retrieval_flag
from vecsec_chassis.settings import load_settings


def put(file: Path, content: str) -> None:
    """Write it as every careful program does: at no moment is the file half there."""
    draft = file.with_suffix(".draft")
    draft.write_text(content)
    draft.replace(file)


class Metrics:
    """A meter whose values a test can read."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.meter = MeterProvider(metric_readers=[self._reader]).get_meter("test")

    def value(self, name: str) -> float:
        data = self._reader.get_metrics_data()
        assert data is not None
        found = {
            metric.name: metric.data.data_points[0].value
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }
        return found[name]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture(autouse=True)
def _fast_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_watch, "POLL_SECONDS", 0.01)


def flags(default: str = "on", off_for: list[str] | None = None) -> str:
    targeting = {"if": [{"in": [{"var": "tenant_id"}, off_for]}, "off"]} if off_for else {}
    flag = {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": default,
        "targeting": targeting,
    }
    return json.dumps({"flags": {"use_real_vector_retrieval": flag}})


@pytest.mark.parametrize(
    ("text", "expected"),
    [("true", True), ("1", True), ("ON", True), (" yes ", True), ("false", False), ("0", False), ("off", False)],
)
def test_the_environment_is_read_as_people_write_it(
    text: str, expected: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("USE_REAL_VECTOR_RETRIEVAL", text)
    monkeypatch.setenv("VECSEC_FLAG_FILE", "")
    settings = load_settings(FlagSettings)
    assert settings.use_real_vector_retrieval is expected
    assert settings.flag_file is None


@pytest.mark.parametrize("text", ["", "maybe", "t", "2", "enabled"])
def test_anything_else_stops_the_start_and_names_the_setting(
    text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("USE_REAL_VECTOR_RETRIEVAL", text)
    with pytest.raises(ConfigurationError, match="USE_REAL_VECTOR_RETRIEVAL"):
        load_settings(FlagSettings)


@pytest.mark.parametrize("default", [True, False])
async def test_without_a_file_the_environment_decides(default: bool, metrics: Metrics) -> None:
    with capture_logs() as logs:
        async with real_retrieval_flag(default, None, metrics.meter) as flag:
            assert flag.is_on("tenant_a") is default
            assert metrics.value("vecsec_feature_flag") == int(default)
    assert [(line["event"], line["value"], line["source"]) for line in logs] == [
        ("Feature flag", default, "USE_REAL_VECTOR_RETRIEVAL")
    ]


async def test_the_file_overrides_the_environment_per_tenant(tmp_path: Path, metrics: Metrics) -> None:
    file = tmp_path / "flags.json"
    put(file, flags("on", off_for=["tenant_b"]))
    async with real_retrieval_flag(False, file, metrics.meter) as flag:
        assert flag.is_on("tenant_a")
        assert not flag.is_on("tenant_b")
        assert metrics.value("vecsec_feature_flag") == 1


async def test_yaml_is_read_too(tmp_path: Path, metrics: Metrics) -> None:
    file = tmp_path / "flags.yaml"
    put(file, "flags: {use_real_vector_retrieval: {state: ENABLED, variants: {on: false}, defaultVariant: 'off'}}")
    with pytest.raises(ConfigurationError, match="variants"):  # YAML 1.1 reads a bare `on` as true
        async with real_retrieval_flag(True, file, metrics.meter):
            pass
    put(file, "flags: {use_real_vector_retrieval: {state: ENABLED, variants: {'off': false}, defaultVariant: 'off'}}")
    async with real_retrieval_flag(True, file, metrics.meter) as flag:
        assert not flag.is_on("tenant_a")


async def test_a_change_is_seen_logged_and_shown(tmp_path: Path, metrics: Metrics) -> None:
    file = tmp_path / "flags.json"
    put(file, flags("on"))
    with capture_logs() as logs:
        async with real_retrieval_flag(True, file, metrics.meter) as flag:
            assert flag.is_on("tenant_a")
            put(file, flags("off"))
            await until(lambda: not flag.is_on("tenant_a"))
            assert metrics.value("vecsec_feature_flag") == 0
    assert [line["value"] for line in logs if line["event"] == "Feature flag"] == [True, False]


async def test_a_configmap_swap_is_seen_and_so_is_its_rollback_to_an_older_file(
    tmp_path: Path, metrics: Metrics
) -> None:
    def mount(version: str, content: str) -> None:
        folder = tmp_path / version
        folder.mkdir()
        (folder / "flags.json").write_text(content)
        if version == "..rollback":
            an_hour_ago = time.time() - 3600
            os.utime(folder / "flags.json", (an_hour_ago, an_hour_ago))
        (tmp_path / "..data_tmp").symlink_to(version)
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")

    mount("..first", flags("on"))
    file = tmp_path / "flags.json"
    file.symlink_to("..data/flags.json")
    async with real_retrieval_flag(True, file, metrics.meter) as flag:
        assert flag.is_on("tenant_a")
        mount("..second", flags("off"))
        await until(lambda: not flag.is_on("tenant_a"))
        mount("..rollback", flags("on"))
        await until(lambda: flag.is_on("tenant_a"))


@pytest.mark.parametrize("default", [True, False])
async def test_a_file_that_is_named_and_missing_means_off_until_it_appears(
    default: bool, tmp_path: Path, metrics: Metrics
) -> None:
    file = tmp_path / "not" / "yet" / "flags.json"
    with capture_logs() as logs:
        async with real_retrieval_flag(default, file, metrics.meter) as flag:
            assert not flag.is_on("tenant_a")
            assert metrics.value("vecsec_feature_flag") == 0
            assert metrics.value("vecsec_feature_flag_file_errors") == 1
            file.parent.mkdir(parents=True)
            put(file, flags("on"))
            await until(lambda: flag.is_on("tenant_a"))
            put(file, '{"flags": {}}')
            await until(lambda: flag.is_on("tenant_a") is default)
    [lost] = [line for line in logs if line["log_level"] == "warning"]
    assert lost["event"] == "Flag file is not there, real retrieval is off until it is"
    assert "vecsec flag set on" in lost["remedy"]


async def test_a_kill_switch_that_is_lost_stays_off_over_a_restart(tmp_path: Path, metrics: Metrics) -> None:
    file = tmp_path / "flags.json"
    put(file, flags("on", off_for=["tenant_a"]))
    async with real_retrieval_flag(True, file, metrics.meter) as flag:
        assert not flag.is_on("tenant_a")
    file.unlink()
    async with real_retrieval_flag(True, file, Metrics().meter) as flag:
        assert not flag.is_on("tenant_a")


async def test_a_kill_switch_that_is_lost_stays_off(tmp_path: Path, metrics: Metrics) -> None:
    file = tmp_path / "flags.json"
    put(file, flags("off"))
    with capture_logs() as logs:
        async with real_retrieval_flag(True, file, metrics.meter) as flag:
            assert not flag.is_on("tenant_a")
            file.unlink()
            await until(lambda: metrics.value("vecsec_feature_flag_file_errors") == 1)
            assert not flag.is_on("tenant_a")
            assert metrics.value("vecsec_feature_flag") == 0
            put(file, flags("on"))
            await until(lambda: flag.is_on("tenant_a"))
            file.unlink()
            await until(lambda: metrics.value("vecsec_feature_flag_file_errors") == 2)
            assert flag.is_on("tenant_a"), "who loses it has not switched anything off either"
    [lost, _] = [line for line in logs if line["event"] == "Flag file is broken, the last good value stays"]
    assert lost["reason"].startswith("it is gone; write it again")


BROKEN = {
    "not JSON": "{",
    "no flags": '{"flags": []}',
    "a list": "[]",
    "a text variant": '{"flags": {"use_real_vector_retrieval": {"state": "ENABLED", "variants": {"on": "true"}}}}',
    "no such default": (
        '{"flags": {"use_real_vector_retrieval": '
        '{"state": "ENABLED", "variants": {"on": true}, "defaultVariant": "off"}}}'
    ),
    "a bad state": '{"flags": {"use_real_vector_retrieval": {"state": "SOMETIMES", "variants": {"on": true}}}}',
    "an unknown operator": (
        '{"flags": {"use_real_vector_retrieval": {"state": "ENABLED", "variants": {"on": true}, '
        '"defaultVariant": "on", "targeting": {"frobnicate": [1, 2]}}}}'
    ),
    "another flag is broken": '{"flags": {"other": {"state": "ENABLED"}}}',
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_file_at_the_start_is_refused_in_one_line(
    content: str, tmp_path: Path, metrics: Metrics
) -> None:
    file = tmp_path / "flags.json"
    put(file, content)
    with pytest.raises(ConfigurationError, match=r"VECSEC_FLAG_FILE=.*flags\.json") as refused:
        async with real_retrieval_flag(True, file, metrics.meter):
            pass
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
async def test_a_file_that_breaks_later_changes_nothing_and_is_reported_once(
    content: str, tmp_path: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, look = 0, flag_module.file_content

    def counted(path: Path) -> FileContent:
        nonlocal looks
        looks += 1
        return look(path)

    monkeypatch.setattr(flag_module, "file_content", counted)
    file = tmp_path / "flags.json"
    put(file, flags("off"))
    with capture_logs() as logs:
        async with real_retrieval_flag(True, file, metrics.meter) as flag:
            put(file, content)
            await until(lambda: any(line["log_level"] == "warning" for line in logs))
            enough = looks + 5
            await until(lambda: looks >= enough)
            assert not flag.is_on("tenant_a")
            assert metrics.value("vecsec_feature_flag_file_errors") == 1
            put(file, flags("on"))
            await until(lambda: flag.is_on("tenant_a"))
    assert len([line for line in logs if line["log_level"] == "warning"]) == 1


async def test_a_folder_in_its_place_is_broken_not_missing(tmp_path: Path, metrics: Metrics) -> None:
    with pytest.raises(ConfigurationError, match="directory"):
        async with real_retrieval_flag(True, tmp_path, metrics.meter):
            pass


async def test_a_file_for_other_flags_leaves_ours_to_the_environment(tmp_path: Path, metrics: Metrics) -> None:
    file = tmp_path / "flags.json"
    put(file, '{"flags": {"other": {"state": "ENABLED", "variants": {"a": 1}, "defaultVariant": "a"}}}')
    async with real_retrieval_flag(False, file, metrics.meter) as flag:
        assert not flag.is_on("tenant_a")


async def test_two_flags_in_one_process_are_two_flags(tmp_path: Path) -> None:
    off = tmp_path / "off.json"
    off.write_text(flags("off"))
    async with (
        real_retrieval_flag(True, off, Metrics().meter) as first,
        real_retrieval_flag(True, None, Metrics().meter) as second,
    ):
        assert not first.is_on("tenant_a")
        assert second.is_on("tenant_a")


async def test_many_tenants_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch, metrics: Metrics) -> None:
    monkeypatch.setattr(flag_module, "_MAXIMUM_MEMOISED_TENANTS", 10)
    async with real_retrieval_flag(True, None, metrics.meter) as flag:
        assert all(flag.is_on(f"tenant_{number}") for number in range(100))
        assert len(flag._memo) <= 10


async def test_an_error_of_the_body_comes_out_as_it_is(metrics: Metrics) -> None:
    async def start() -> None:
        async with real_retrieval_flag(True, None, metrics.meter):
            raise ConfigurationError("port taken")

    with pytest.raises(ConfigurationError, match="port taken"):
        await start()
