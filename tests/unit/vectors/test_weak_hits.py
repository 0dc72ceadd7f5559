"""What the threshold of weak hits of each packaged model marks, among the examples and their questions."""

import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from builders import NO_POLICIES
from contract.vectors.build import a_state
from fakes import FakeClock
from soma_api.queries.filter_shorthand import selection
from soma_api.queries.vectors.hybrid_search import Search, SearchHit, SearchMode, SearchRequest
from soma_api.settings import ApiSettings, GatewaySettings
from soma_cli.local.embedded_index import EmbeddedIndex
from soma_schemas.fields import Kind
from soma_schemas.identity import identified
from soma_schemas.packaged_models import DIMENSIONS, WEAK_BELOW
from soma_schemas.settings import EmbedderSettings
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.embedders import Embedder, open_embedder
from soma_schemas.vectors.points import Point, unit_vector
from soma_schemas.vectors.text import indexed_text
from soma_streams.sinks.vectors.states import living_point

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
TENANT = "acme"
BM25 = Bm25Encoder()
# Nothing in a month of a team that makes booking software answers these; some share a word with it.
ABOUT_SOMETHING_ELSE = (
    "What is the capital of France?",
    "How do I bake sourdough bread?",
    "Who won the 1998 World Cup?",
    "What is the boiling point of nitrogen?",
    "Explain quantum entanglement",
    "How tall is Mount Everest?",
    "best pasta recipe with mushrooms",
    "When was the Roman Empire founded?",
    "symptoms of vitamin D deficiency",
    "How do vaccines work?",
    "translate good morning into Japanese",
    "What causes earthquakes?",
    "Who painted the Mona Lisa?",
    "how many legs does a spider have",
    "price of gold per ounce",
    "Which planet has the most moons?",
    "Write a poem about autumn leaves",
    "How does photosynthesis work?",
    "knitting pattern for baby socks",
    "guitar chords for beginners",
    "What year did the Titanic sink?",
    "how to train a puppy not to bite",
    "distance from Earth to the sun",
    "What is the meaning of life?",
    "Pythagorean theorem proof",
    "Shakespeare's longest play",
    "zorgblatt",
    "dinosaurs of the Jurassic",
    "marathon training plan",
    "lightning",
    "Did the volcano erupt again?",
    "My blood type",
    "Which violin did grandma play?",
    "Is the reactor safe?",
    "favourite opera",
    "visa for Brazil",
    "chess opening against the Sicilian",
    "wedding photographer in Lisbon",
)


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (EXAMPLES / name).read_text(encoding="utf-8").splitlines()]


def id_of(named: dict[str, Any]) -> UUID:
    given = identified(TENANT, named.get("namespace", ""), named.get("key"), named.get("coordinate"))
    return given if given is not None else UUID(named["memory_id"])


@pytest.fixture(scope="module", params=list(DIMENSIONS))
def embedder(request: pytest.FixtureRequest) -> Embedder:
    """Each packaged model."""
    return open_embedder(EmbedderSettings(model=request.param))


@pytest.fixture(scope="module")
def points(embedder: Embedder) -> list[Point]:
    """The month as it is at its end."""
    points = {}
    for version, line in enumerate(lines("assistant-month.jsonl"), 1):
        state = a_state(
            tenant=TENANT,
            memory_id=id_of(line),
            version=version,
            namespace=line["namespace"],
            key=line.get("key"),
            kind=Kind(line["kind"]),
            text=line["text"],
            tags=tuple(line.get("tags", ())),
            occurred_at=datetime.fromisoformat(line["occurred_at"]),
        )
        held = state.content
        assert held is not None
        text = indexed_text(held.text, held.occurred_at, held.key, held.tags)
        dense = unit_vector(embedder.embed_documents([text])[0])
        points[state.name] = living_point(state, held, dense, BM25.document(text))
    return list(points.values())


@pytest.fixture
async def search(tmp_path: Path, embedder: Embedder, points: list[Point]) -> AsyncIterator[Search]:
    """A search over them."""
    collection = Collection("memories", embedder.name, embedder.dimensions)
    index = EmbeddedIndex.open(tmp_path / "vectors", collection)
    await index.write(points)
    yield Search(index, embedder, BM25, FakeClock())
    index.close()


async def hits(search: Search, question: str, mode: SearchMode, prefix: str | None = None) -> list[SearchHit]:
    wanted = selection(namespace_prefix=prefix)
    asked = SearchRequest(tenant=TENANT, policies=NO_POLICIES, text=question, mode=mode, filter=wanted)
    return (await search(asked)).hits


def share_of_weak(found: list[SearchHit], embedder: Embedder) -> float:
    return sum(hit.explanation.is_weak(WEAK_BELOW[embedder.name]) is True for hit in found) / len(found)


async def answers(search: Search, mode: SearchMode) -> list[SearchHit]:
    """The hits that answer the example questions."""
    return [
        hit
        for question in lines("assistant-month-questions.jsonl")
        for hit in await hits(search, question["question"], mode, question.get("namespace_prefix"))
        if hit.memory.memory_id in {id_of(each) for each in question["answers"]}
    ]


async def strangers(search: Search, mode: SearchMode) -> list[SearchHit]:
    """The hits of questions that nothing answers."""
    return [hit for question in ABOUT_SOMETHING_ELSE for hit in await hits(search, question, mode)]


async def test_no_hybrid_hit_that_answers_is_weak(search: Search, embedder: Embedder) -> None:
    assert share_of_weak(await answers(search, SearchMode.HYBRID), embedder) == 0.0


async def test_nearly_every_hybrid_hit_that_shares_no_word_with_a_strange_question_is_weak(
    search: Search, embedder: Embedder
) -> None:
    found = await strangers(search, SearchMode.HYBRID)
    wordless = [hit for hit in found if hit.explanation.bm25 is None]

    assert len(wordless) > len(found) / 2
    assert share_of_weak(wordless, embedder) > 0.95


async def test_nearness_alone_tells_answers_from_strangers_less_well(
    search: Search, embedder: Embedder
) -> None:
    assert share_of_weak(await answers(search, SearchMode.VECTOR), embedder) < 0.1
    assert share_of_weak(await strangers(search, SearchMode.VECTOR), embedder) > 0.9


async def test_a_hit_by_words_is_never_weak(search: Search, embedder: Embedder) -> None:
    assert share_of_weak(await strangers(search, SearchMode.KEYWORD), embedder) == 0.0


async def test_an_answer_says_which_model_made_it(search: Search, embedder: Embedder) -> None:
    asked = SearchRequest(tenant=TENANT, policies=NO_POLICIES, text="tea")

    assert (await search(asked)).model == embedder.name


def test_the_threshold_is_that_of_the_model_unless_somebody_sets_one() -> None:
    unset, own = ApiSettings(), ApiSettings(api=GatewaySettings(weak_below=0.6))

    assert {model: unset.weak_below(model) for model in DIMENSIONS} == WEAK_BELOW
    assert unset.weak_below("some-endpoint's") is None
    assert {own.weak_below(model) for model in (*DIMENSIONS, "some-endpoint's")} == {0.6}
