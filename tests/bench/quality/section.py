"""How good answers are: 410 questions with accepted answers, by mode, beside BM25 and bare ChromaDB."""

from collections.abc import Mapping, Sequence

from bench.findings import Figure, Findings, Line, Plot, Table, Task
from bench.quality import beside, corpora, ours
from bench.quality.beside import Answering, Corpora
from bench.quality.measuring import DEPTH, Outcome, Quality, outcome, quality, share_within
from bench.quality.questions import Question, all_questions

PLAIN, CHROMA = "plain BM25", "bare ChromaDB, its default model"
HYBRID = "VecSec, hybrid"
_CATEGORIES = ("natural", "exact", "identifiers", "typing", "german", "french")

Outcomes = Mapping[str, Sequence[tuple[Question, Outcome]]]
"""By what answered."""


def measure(task: Task) -> Findings:
    """Ask all questions of everybody."""
    texts = {name: make() for name, make in corpora.CORPORA.items()}
    questions = all_questions()
    outcomes = {PLAIN: _ask(beside.plain_bm25(texts), questions, texts)}
    if beside.has_chromas_model():
        outcomes[CHROMA] = _ask(beside.bare_chroma(texts), questions, texts)
    with ours.answering(task.folder("quality"), texts) as modes:
        for mode, answering in modes.items():
            outcomes[f"VecSec, {mode.value}"] = _ask(answering, questions, texts)
    reported = {name: [each for each in found if each[0].is_reported] for name, found in outcomes.items()}
    return Findings(
        _introduction(texts, questions),
        _figures(reported),
        [_by_figure("reported", reported), _by_category(reported), _by_figure("to tune on", _others(outcomes))],
        [_plot(reported)],
        remarks=_remarks(outcomes),
        details={"answers": _details(outcomes)},
    )


def _ask(answering: Answering, questions: Sequence[Question], texts: Corpora) -> list[tuple[Question, Outcome]]:
    return [(each, outcome(each, answering(each), texts[each.corpus])) for each in questions]


def _introduction(texts: Corpora, questions: Sequence[Question]) -> str:
    sizes = ", ".join(f"{name} {len(passages):,}" for name, passages in texts.items())
    reported = sum(each.is_reported for each in questions)
    return (
        f"{len(questions)} questions with accepted answers (`tests/bench/quality/texts`), half of them to tune on, "
        f"{reported} to report. Passages: {sizes}. *python* is what Python and NumPy say of their functions, "
        "*decisions* are this repository's, *parts* is a made-up catalogue whose numbers are alike; the German and "
        "French texts are ours. VecSec runs as it is installed, with its default model. *Plain BM25* has words in "
        "lower case, cut at spaces."
    )


def _figures(reported: Outcomes) -> list[Figure]:
    hybrid, plain = reported[HYBRID], reported[PLAIN]
    whole, numbers = _quality(hybrid), _quality(_of(hybrid, "identifiers"))
    german, natural = _quality(_of(hybrid, "german")), _quality(_of(hybrid, "natural"))
    figures = [
        Figure("hybrid: right among the first five", whole.hit_5, "", at_least=0.85),
        Figure("hybrid: mean reciprocal rank", whole.mrr, "", at_least=0.72),
        Figure("hybrid, identifiers: first is right", numbers.hit_1, "", at_least=0.98),
        Figure(
            "hybrid, German: right among the first five (at least plain BM25's)",
            german.hit_5,
            "",
            at_least=_quality(_of(plain, "german")).hit_5,
        ),
    ]
    if CHROMA in reported:
        goal = _quality(_of(reported[CHROMA], "natural")).hit_5 - 0.05
        figures.append(Figure("hybrid, natural: right among the first five", natural.hit_5, "", at_least=goal))
    return figures


def _by_figure(part: str, outcomes: Outcomes) -> Table:
    rows = []
    for name, found in outcomes.items():
        each = _quality(found)
        rows.append((name, *(f"{value:.2f}" for value in (each.hit_1, each.hit_5, each.mrr, each.ndcg))))
    count = len(next(iter(outcomes.values())))
    return Table((f"{count} questions {part}", "hit@1", "hit@5", "MRR", f"nDCG@{DEPTH}"), rows)


def _by_category(outcomes: Outcomes) -> Table:
    rows = []
    for name, found in outcomes.items():
        cells = [_quality(_of(found, category)) for category in _CATEGORIES]
        rows.append((name, *(f"{each.hit_1:.2f} / {each.hit_5:.2f} / {each.mrr:.2f}" for each in cells)))
    counts = [len(_of(next(iter(outcomes.values())), category)) for category in _CATEGORIES]
    heads = [f"{category} ({count})" for category, count in zip(_CATEGORIES, counts, strict=True)]
    return Table(("reported: hit@1 / hit@5 / MRR", *heads), rows)


def _plot(outcomes: Outcomes) -> Plot:
    places = range(1, DEPTH + 1)
    lines = [
        Line(name, list(places), [share_within([each for _, each in found], place) for place in places])
        for name, found in outcomes.items()
        if not name.endswith("auto")
    ]
    return Plot(
        "hits",
        "Questions with a right answer among the first k",
        "k",
        "share of questions",
        lines,
        x_is_linear=True,
        y_is_linear=True,
    )


def _remarks(outcomes: Outcomes) -> str:
    kept = "Weights, and what words are, were chosen by the part to tune on alone."
    if CHROMA in outcomes:
        return kept
    return (
        f"{kept} Bare ChromaDB is missing: its default model was not on this machine, and could not be downloaded. "
        "Where `~/.cache/chroma/onnx_models/all-MiniLM-L6-v2` has it, it is measured, too."
    )


def _details(outcomes: Outcomes) -> dict[str, dict[str, int | None]]:
    return {name: {question.text: each.rank for question, each in found} for name, found in outcomes.items()}


def _others(outcomes: Outcomes) -> Outcomes:
    return {name: [each for each in found if not each[0].is_reported] for name, found in outcomes.items()}


def _of(found: Sequence[tuple[Question, Outcome]], category: str) -> list[tuple[Question, Outcome]]:
    return [each for each in found if each[0].category == category]


def _quality(found: Sequence[tuple[Question, Outcome]]) -> Quality:
    return quality([each for _, each in found])
