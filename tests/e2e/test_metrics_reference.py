"""docs/reference/metrics.md against what the services show: names, kinds and labels."""

from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.certificates import Authority
from support.pages import ROOT
from support.site import running_site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PAGE = ROOT / "docs" / "reference" / "metrics.md"
OF_THE_PARSER = frozenset({"le"})
"""Labels that a kind of metric has by itself."""


def documented() -> dict[str, tuple[str, set[str]]]:
    """Kind and labels of each metric of the page."""
    rows = [line.split("|")[1:4] for line in PAGE.read_text().splitlines() if line.startswith("| `vecsec_")]
    return {
        name.strip(" `"): (kind.strip(), {word.strip(" `") for word in labels.split(",") if word.strip()})
        for name, kind, labels in rows
    }


def shown(ports: list[int]) -> dict[str, tuple[str, set[str]]]:
    """The same of what the services show now."""
    found: dict[str, tuple[str, set[str]]] = {}
    for port in ports:
        with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            text = answer.read().decode()
        for family in text_string_to_metric_families(text):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            if name.startswith("vecsec_") and family.samples:
                labels = {label for sample in family.samples for label in sample.labels} - OF_THE_PARSER
                found[name] = (family.type, labels)
    return found


def test_what_a_live_stack_shows_is_what_the_page_says(tmp_path: Path) -> None:
    with running_site(tmp_path, authority=Authority(tmp_path / "certificates")) as site:
        row = {"id": "one", "text": "ranking passages", "sensitivity": "PUBLIC", "topics": ["retrieval"]}
        site.import_rows("tenant_a", [row])
        site.run("search", "ranking", "--tenant", "tenant_a", token=site.token("tenant_a"))
        live = shown(list(site.ports.metrics.values()))
    page = documented()
    assert {name: page.get(name) for name in live} == live
    assert len(live) > len(page) / 2
