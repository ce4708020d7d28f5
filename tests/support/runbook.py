"""The runbook as a list of procedures: what it says to type, in the order in which it says it.

Every bash block says what it is, after the language: `diagnosis`, `resolution FAULT…`, `verification`, `reference` or
`setup`. Below a heading of the second level (a topic), each resolution is tried against each of its faults: the fault
is injected, the verification must fail, the topic's diagnosis must run, and after the resolution the verification must
pass. The verification is that of the resolution's own subsection or, failing that, the topic's.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

STEPS = frozenset({"setup", "diagnosis", "resolution", "verification", "reference"})
TOPIC, SUBSECTION = "h2", "h3"


@dataclass(frozen=True)
class Block:
    """Commands."""

    topic: str
    subsection: str
    step: str
    faults: tuple[str, ...]
    commands: str
    line: int


@dataclass(frozen=True)
class Procedure:
    """One resolution of one fault."""

    fault: str
    diagnosis: tuple[Block, ...]
    resolution: Block
    verification: Block

    def __str__(self) -> str:
        return f"{self.fault}, line {self.resolution.line}"


@dataclass
class Runbook:
    """What the file holds."""

    blocks: list[Block] = field(default_factory=list)
    anchors: list[str] = field(default_factory=list)
    """As GitHub makes them of headings."""
    links: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> "Runbook":
        found = cls()
        heading = {TOPIC: "", SUBSECTION: ""}
        tokens = MarkdownIt("commonmark").enable("table").parse(path.read_text())
        for index, token in enumerate(tokens):
            if token.type == "heading_open":
                title = tokens[index + 1].content
                found.anchors.append(anchor(title))
                if token.tag == TOPIC:
                    heading = {TOPIC: title, SUBSECTION: ""}
                elif token.tag == SUBSECTION:
                    heading[SUBSECTION] = title
            elif token.type == "fence" and token.info.startswith("bash"):
                found.blocks.append(_block(token, heading))
            for child in token.children or ():
                if child.type == "link_open":
                    found.links.append(str(child.attrs["href"]))
        return found

    def procedures(self) -> list[Procedure]:
        """Every resolution with each of its faults."""
        return [
            Procedure(fault, self._diagnosis(block), block, self._verification(block))
            for block in self.blocks
            if block.step == "resolution"
            for fault in block.faults
        ]

    def of_step(self, step: str) -> list[Block]:
        return [block for block in self.blocks if block.step == step]

    def _diagnosis(self, resolution: Block) -> tuple[Block, ...]:
        return tuple(
            block
            for block in self.of_step("diagnosis")
            if block.topic == resolution.topic and (not block.faults or set(block.faults) & set(resolution.faults))
        )

    def _verification(self, resolution: Block) -> Block:
        of_topic = [block for block in self.of_step("verification") if block.topic == resolution.topic]
        own = [block for block in of_topic if block.subsection == resolution.subsection]
        common = [block for block in of_topic if block.subsection == "Verification"]
        return (own or common)[0]


def anchor(title: str) -> str:
    """The anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _block(token: Token, heading: dict[str, str]) -> Block:
    assert token.map is not None
    words = token.info.split()[1:]
    return Block(
        topic=heading[TOPIC],
        subsection=heading[SUBSECTION],
        step=words[0] if words else "",
        faults=tuple(words[1:]),
        commands=token.content,
        line=token.map[0] + 1,
    )
