"""`python -m benchmarks.conversations`: make the example conversations and the questions about them.

Twelve people talk in pairs, session by session. Each fact is said once, between questions about it, answers
to it and small talk; what a question asks is said in its words or in others. Everything is made up here, the
same each time, and is under the licence of the project. `docs/examples/README.md` describes the lines.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

FOLDER = Path(__file__).parents[1] / "docs" / "examples"
MEMORIES, QUESTIONS = "conversations.jsonl", "conversations-questions.jsonl"

_BEGIN = datetime(2026, 1, 10, 18, 0, tzinfo=UTC)
_FACTS_OF_A_PERSON = 18
_FACTS_OF_A_SESSION = 4


class Topic(NamedTuple):
    """Something that people tell of themselves.

    Attributes:
        name: As a key has it.
        before: What the other asks first.
        said: Ways to say it; `{v}` is the value.
        after: What the other answers.
        asked: The questions; `{p}` is the person.
        values: What can be said.
    """

    name: str
    before: str
    said: tuple[str, ...]
    after: str
    asked: tuple[str, ...]
    values: tuple[str, ...]


TOPICS = (
    Topic(
        "pet",
        "Anything new at home?",
        ("We picked up {v} from the shelter on Saturday.", "{v} moved in with us, the sofa is lost already."),
        "Oh, lovely! Has the vet had a look yet?",
        (
            "What animal lives with {p}?",
            "Which pet did {p} adopt?",
            "What did {p} get from the shelter?",
            "Who moved in and took {p}'s sofa?",
        ),
        ("a grey kitten", "an old beagle", "two rabbits", "a tortoise", "a one-eyed cat", "a parrot"),
    ),
    Topic(
        "job",
        "How is work going?",
        ("I signed the contract, from May on I am {v}.", "They took me! I start as {v} after Easter."),
        "Congratulations, you must be relieved after all those interviews.",
        (
            "What is the new job of {p}?",
            "In which profession will {p} be working?",
            "As what does {p} start after Easter?",
            "Which contract did {p} sign?",
        ),
        ("a nurse", "a train driver", "a baker", "a lab assistant", "a librarian", "a roofer"),
    ),
    Topic(
        "allergy",
        "Shall I bring something to eat?",
        (
            "Please nothing with {v}, I swell up at once.",
            "Careful, {v} sends me straight to hospital.",
        ),
        "Good that you say so, I will read the labels.",
        (
            "What is {p} allergic to?",
            "Which food must {p} avoid?",
            "What makes {p} swell up?",
            "What would send {p} to hospital?",
        ),
        ("walnuts", "shrimps", "celery", "sesame", "strawberries", "egg white"),
    ),
    Topic(
        "holiday",
        "Where will you be in August?",
        ("We booked two weeks {v}.", "The tickets came today, {v} it is this time."),
        "You will send postcards, won't you?",
        (
            "Where does {p} spend the summer vacation?",
            "What is the travel destination of {p}?",
            "Where did {p} book two weeks?",
            "For which place did {p} get tickets?",
        ),
        (
            "on Crete",
            "in the Tatra",
            "at the Curonian Spit",
            "on Gotland",
            "in the Alentejo",
            "by Lake Ohrid",
        ),
    ),
    Topic(
        "instrument",
        "What is that case in the hall?",
        ("I began taking lessons, {v}, my neighbours suffer.", "Every Tuesday evening I practise {v} now."),
        "Play us something next time!",
        (
            "Which musical instrument does {p} learn?",
            "In what does {p} take lessons?",
            "What does {p} practise on Tuesday evenings?",
        ),
        ("cello", "clarinet", "the accordion", "drums", "the harp", "trombone"),
    ),
    Topic(
        "sport",
        "You look fit.",
        ("It is the {v}, three times a week before breakfast.", "Since January I go {v} with my cousin."),
        "I could never get up that early.",
        (
            "What kind of exercise does {p} do?",
            "Which sport keeps {p} in shape?",
            "What does {p} do before breakfast three times a week?",
            "What does {p} do with a cousin?",
        ),
        ("rowing", "bouldering", "swimming", "fencing", "cross-country skiing", "judo"),
    ),
    Topic(
        "car",
        "Did you come by bus?",
        ("No, I drive {v} these days, second hand.", "The old one died, so I bought {v} from my uncle."),
        "Mind the parking here, they tow quickly.",
        (
            "What vehicle does {p} own?",
            "What does {p} drive?",
            "What did {p} buy from an uncle?",
        ),
        ("a green estate", "a tiny electric", "a camper van", "a motorbike with a sidecar", "a rusty pickup"),
    ),
    Topic(
        "sibling",
        "How is the family?",
        ("My sister expects {v} in autumn.", "I will be called uncle or aunt soon: {v} for my brother."),
        "How exciting, give them my best.",
        (
            "What happens in the family of {p}?",
            "Which baby news did {p} share?",
            "What does the sister or brother of {p} expect?",
            "When will {p} be an uncle or aunt?",
        ),
        ("twins", "a girl", "a boy", "triplets"),
    ),
    Topic(
        "injury",
        "Why are you limping?",
        ("I broke {v} on the stairs.", "The doctor says {v} is torn, six weeks of rest."),
        "Ouch. Can I do the shopping for you?",
        (
            "Which part of the body did {p} hurt?",
            "What medical trouble does {p} have?",
            "What did {p} break on the stairs?",
            "What is torn, according to the doctor of {p}?",
        ),
        ("my left ankle", "a toe", "the meniscus", "my collarbone", "a rib"),
    ),
    Topic(
        "book",
        "What are you reading at the moment?",
        ("{v}, and I cannot put it down.", "I am halfway through {v}, it keeps me up at night."),
        "I will borrow it when you are done.",
        (
            "Which novel did {p} enjoy?",
            "What can {p} not put down?",
            "What is {p} halfway through?",
        ),
        (
            "a thriller about a lighthouse",
            "the memoirs of a beekeeper",
            "a saga from Iceland",
            "ghost stories",
        ),
    ),
    Topic(
        "flat",
        "Found anything yet?",
        ("Yes, {v}, we get the keys in June.", "We take {v}, the rent is bearable."),
        "Then you need help with the boxes.",
        (
            "Where will {p} be living?",
            "What home is {p} moving to?",
            "Of what does {p} get the keys in June?",
            "Whose rent is bearable for {p}?",
        ),
        (
            "the attic above the pharmacy",
            "a houseboat on the canal",
            "two rooms near the station",
            "the old mill",
            "a bungalow with a pear tree",
        ),
    ),
    Topic(
        "course",
        "Are you free on Thursdays?",
        ("No, then I have {v} at the evening school.", "Thursdays I sit in {v}, the exam is in July."),
        "You never stop, do you?",
        (
            "What does {p} study after work?",
            "Which class does {p} attend?",
            "What does {p} have at evening school on Thursdays?",
            "For what has {p} an exam in July?",
        ),
        ("Portuguese", "bookkeeping", "welding", "sign language", "pottery"),
    ),
    Topic(
        "partner",
        "You are beaming.",
        ("I met somebody, {v}.", "Well, there is {v}, we have been out four times."),
        "Tell me everything!",
        (
            "Who is {p} dating?",
            "With whom is {p} in love?",
            "Whom did {p} meet?",
            "With whom has {p} been out four times?",
        ),
        (
            "a vet called Ines",
            "Ruben from the choir",
            "the new dentist",
            "a pilot named Sol",
            "Pavel upstairs",
        ),
    ),
    Topic(
        "gift",
        "What did you get for your birthday?",
        ("My parents gave me {v}.", "{v}, from all of them together, I was speechless."),
        "You deserved it.",
        (
            "Which present did {p} receive?",
            "What did the parents give {p}?",
            "What left {p} speechless?",
        ),
        ("a telescope", "a sewing machine", "a week at a spa", "a canoe", "an espresso machine"),
    ),
    Topic(
        "fear",
        "Shall we take the cable car?",
        ("Rather not, {v} makes my knees shake.", "You go ahead, I cannot stand {v}."),
        "Then we walk, no problem.",
        (
            "What is {p} afraid of?",
            "Which phobia does {p} have?",
            "What makes {p}'s knees shake?",
            "What can {p} not stand?",
        ),
        ("heights", "a narrow cabin", "deep water", "a crowd", "thunder"),
    ),
    Topic(
        "volunteer",
        "Busy at the weekend?",
        ("Sundays I help out {v}.", "I signed up {v}, they are short of hands."),
        "That is good of you.",
        (
            "What charity work does {p} do?",
            "Where does {p} volunteer?",
            "Where does {p} help out on Sundays?",
            "For what did {p} sign up?",
        ),
        ("at the food bank", "in the animal rescue", "with the fire brigade", "at the repair café"),
    ),
    Topic(
        "diet",
        "Want a sausage?",
        ("Thanks, I eat {v} since New Year.", "My doctor has put me on {v}."),
        "There is salad as well.",
        (
            "How did the eating habits of {p} change?",
            "Which diet does {p} follow?",
            "What does {p} eat since New Year?",
            "On what has the doctor put {p}?",
        ),
        ("no meat", "nothing with sugar", "only plants", "little salt", "no bread"),
    ),
    Topic(
        "loss",
        "Why so quiet?",
        ("Somebody stole {v} on the tram.", "I left {v} in a taxi and nobody has called."),
        "Have you been to the police?",
        (
            "What was {p} robbed of or missing?",
            "Which belonging did {p} lose?",
            "What was stolen from {p} on the tram?",
            "What did {p} leave in a taxi?",
        ),
        ("my wallet", "the violin", "grandmother's ring", "my laptop", "the house keys"),
    ),
    Topic(
        "plan",
        "Any big plans?",
        ("We want to open {v} next spring.", "I am saving for {v} of my own."),
        "You will need a good name for it.",
        (
            "What business would {p} like to start?",
            "What does {p} dream of running?",
            "What does {p} want to open next spring?",
            "For what is {p} saving?",
        ),
        ("a bicycle workshop", "an ice cream parlour", "a bookshop", "a bed and breakfast", "a brewery"),
    ),
    Topic(
        "garden",
        "What is that on your balcony?",
        ("I am growing {v}, the first ones are ripe.", "{v}, from seed, you should have seen the slugs."),
        "I only ever manage cactuses.",
        (
            "What does {p} cultivate?",
            "Which plants does {p} raise?",
            "What is {p} growing on the balcony?",
            "What did {p} raise from seed?",
        ),
        ("tomatoes", "chillies", "dahlias", "lemons", "runner beans"),
    ),
    Topic(
        "award",
        "Something to celebrate?",
        ("Our {v} won the first prize.", "They read out my name: best {v} of the county!"),
        "I knew it, the drinks are on you.",
        (
            "What did {p} win a competition with?",
            "For what was {p} honoured?",
            "For what did {p} win the first prize?",
            "What is {p} best of the county at?",
        ),
        ("honey", "short film", "choir", "sourdough", "robot"),
    ),
    Topic(
        "habit",
        "You are not coming out for a smoke?",
        ("I stopped, {v} ago, and sleep like a stone.", "Not one cigarette for {v}."),
        "Respect, I tried three times.",
        (
            "How long has {p} been without tobacco?",
            "When did {p} quit smoking?",
            "How long ago did {p} have the last cigarette?",
            "When did {p} stop smoking?",
        ),
        ("forty days", "half a year", "two weeks", "since Christmas"),
    ),
    Topic(
        "language",
        "How do you talk with your in-laws?",
        ("In {v}, mostly with my hands.", "They only know {v}, so I learn ten words a day."),
        "That will be a funny wedding.",
        (
            "Which foreign tongue does the family of {p}'s spouse speak?",
            "What do the in-laws of {p} know to speak?",
            "In what does {p} learn ten words a day?",
        ),
        ("Georgian", "Basque", "Welsh", "Lithuanian", "Maltese"),
    ),
    Topic(
        "night",
        "You look tired.",
        ("It is {v}, I lie awake until three.", "I hardly sleep because of {v}."),
        "Have you tried earplugs?",
        (
            "What keeps {p} from sleeping?",
            "Why does {p} suffer from insomnia?",
            "Because of what does {p} hardly sleep?",
            "Why does {p} lie awake until three?",
        ),
        ("the building site", "my thesis", "the neighbour's dog", "worries about money", "the heat"),
    ),
)

PEOPLE = ("Nora", "Emil", "Tove", "Marek", "Ayla", "Jonas", "Lucia", "Piet", "Hanna", "Omar", "Vera", "Sami")

_SMALL_TALK = (
    "Did you see the rain last night?",
    "The number nine was late again.",
    "I should call my mother one of these days.",
    "Let us meet at the usual place.",
    "Somebody has eaten all the biscuits.",
    "What a week, I am glad it is Friday.",
    "The film was far too long, but the music was good.",
    "They changed the opening hours again.",
    "I will think about it and let you know.",
    "Say hello to everybody from me.",
    "My phone is nearly empty, so be quick.",
    "That reminds me of our old teacher.",
    "Coffee or tea?",
    "No idea, ask me tomorrow.",
    "We should do this more often.",
)


class Fact(NamedTuple):
    """What somebody says of himself or herself."""

    topic: Topic
    person: str
    value: str


def lines() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the memories and the questions, the same each time."""
    random = Random(2026)  # noqa: S311  # the same each time is what is wanted
    memories: list[dict[str, Any]] = []
    questions: list[dict[str, Any]] = []
    for one, other in zip(PEOPLE[::2], PEOPLE[1::2], strict=True):
        namespace = f"conversations/{one}-{other}".lower()
        for number, (fact, turns) in enumerate(_conversation(one, other, random)):
            for speaker, text in turns:
                memories.append(
                    {
                        "namespace": namespace,
                        "key": f"turn-{sum(each['namespace'] == namespace for each in memories)}",
                        "kind": "EPISODIC",
                        "text": f"{speaker}: {text}",
                        "occurred_at": _at(number, len(memories)),
                        "actor": speaker.lower(),
                    }
                )
                if fact is not None and speaker == fact.person and fact.value.lower() in text.lower():
                    questions.append(
                        {
                            "question": random.choice(fact.topic.asked).format(p=fact.person),
                            "answers": [{"namespace": namespace, "key": memories[-1]["key"]}],
                            "note": fact.topic.name,
                        }
                    )
    return memories, questions


def _conversation(
    one: str, other: str, random: Random
) -> Iterator[tuple[Fact | None, list[tuple[str, str]]]]:
    facts = [
        Fact(topic, person, random.choice(topic.values))
        for person in (one, other)
        for topic in random.sample(TOPICS, _FACTS_OF_A_PERSON)
    ]
    random.shuffle(facts)
    for fact in facts:
        listener = other if fact.person == one else one
        said = random.choice(fact.topic.said).format(v=fact.value)
        yield (
            fact,
            [
                (listener, fact.topic.before),
                (fact.person, said[0].upper() + said[1:]),
                (listener, fact.topic.after),
            ],
        )
        yield None, [(person, random.choice(_SMALL_TALK)) for person in random.choices((one, other), k=2)]


def _at(exchange: int, turn: int) -> str:
    session = exchange // (2 * _FACTS_OF_A_SESSION)
    return (_BEGIN + timedelta(days=9 * session, seconds=40 * turn)).strftime("%Y-%m-%dT%H:%M:%SZ")


def main() -> None:
    """Write both files."""
    for name, made in zip((MEMORIES, QUESTIONS), lines(), strict=True):
        text = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in made)
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
