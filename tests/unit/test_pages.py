"""The pages hold together: every block is run, read or marked, links lead somewhere, the first pages stay short."""

import re
from pathlib import Path

import pytest
from support.pages import ROOT, CodeBlock, Page, all_pages, read_page

PAGES = all_pages()
BLOCKS = [block for page in PAGES for block in page.blocks]
PAPERS = ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "SECURITY.md")
WORDS = {"README.md": 900, "docs/architecture.md": 1_500}


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_is_run_or_read_or_says_why_not(block: CodeBlock) -> None:
    assert block.problem == ""


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_comment_about_a_block_stands_above_one(page: Page) -> None:
    told = re.findall(r"^<!-- (?:not run|run by|exit status|read by): ", page.path.read_text(), flags=re.MULTILINE)
    assert len(told) == sum(block.marker != "" for block in page.blocks)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Page) -> None:
    assert [link for link in page.links if link not in PAPERS and not _leads_somewhere(page.path, link)] == []


@pytest.mark.skipif(not (ROOT / "LICENSE").exists(), reason="a checkout without the papers that go with a release")
@pytest.mark.parametrize("paper", PAPERS)
def test_the_readme_leads_to_the_papers(paper: str) -> None:
    page = read_page(ROOT / "README.md")
    assert paper in page.links
    assert _leads_somewhere(page.path, paper)


@pytest.mark.parametrize("page", WORDS)
def test_the_first_pages_stay_short(page: str) -> None:
    assert read_page(ROOT / page).words <= WORDS[page]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```bash\ntrue\n```", ""),
        (
            "<!-- run by: tests/unit/test_reference.py -->\n```bash\ntrue\n```",
            "there is no test tests/unit/test_reference.py that reads this page",
        ),
        ("<!-- not run: needs a cluster -->\n```bash\ntrue\n```", ""),
        ("<!-- not run: needs a cluster -->\n\n```yaml\na: b\n```", ""),
        ("<!-- skipped: I am tired -->\n```bash\ntrue\n```", "unknown marker 'skipped'"),
        (
            "<!-- run by: tests/nowhere.py -->\n```bash\ntrue\n```",
            "there is no test tests/nowhere.py that reads this page",
        ),
        ("<!-- exit status: bad -->\n```bash\nfalse\n```", "an exit status is a number, below the comment comes bash"),
        ("```yaml\na: b\n```", "neither read nor run by anything"),
        ("```\ntrue\n```", "unknown language ''"),
        ("```sh\ntrue\n```", "unknown language 'sh'"),
    ],
)
def test_a_block_that_nobody_runs_is_found(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(text + "\n")
    (block,) = read_page(tmp_path / "page.md").blocks
    assert block.problem == problem


def test_no_block_of_a_deploy_page_is_typed_here() -> None:
    block = CodeBlock(ROOT / "deploy" / "systemd" / "README.md", 1, "bash", "", "", "", "install -d /etc/vecsec")
    assert block.is_claimed_elsewhere
    assert block.problem


def test_a_link_to_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One thing\n\n[a](#one-thing) [b](#other) [c](gone.md) [d](https://example.com)\n")
    assert [link for link in read_page(page).links if not _leads_somewhere(page, link)] == ["#other", "gone.md"]


def _leads_somewhere(page: Path, link: str) -> bool:
    if link.startswith(("https://", "http://", "mailto:")):
        return True
    file, _, fragment = link.partition("#")
    target = page.parent / file if file else page
    if not target.exists():
        return False
    return not fragment or read_page(target).anchors.count(fragment) == 1
