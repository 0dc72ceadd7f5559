"""The judge knows nothing of what it judges."""

import ast
from pathlib import Path

JUDGE = Path(__file__).parents[1] / "judge"
ALLOWED = {"judge", "confluent_kafka", "fastavro", "httpx", "psycopg", "qdrant_client", "qdrant_edge"}
# The standard library as far as the judge needs it: a list of what it does is short, too.
STANDARD = {
    "base64", "collections", "dataclasses", "datetime", "decimal", "io", "json", "math", "operator",
    "pathlib", "re", "struct", "typing", "unicodedata", "urllib", "uuid",
}  # fmt: skip


def imported(source: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def test_the_judge_imports_clients_of_others_and_nothing_of_the_product_or_of_its_tests() -> None:
    found = {file.name: imported(file.read_text()) for file in JUDGE.glob("**/*.py")}

    assert len(found) == 6
    for names in found.values():
        assert names <= ALLOWED | STANDARD
