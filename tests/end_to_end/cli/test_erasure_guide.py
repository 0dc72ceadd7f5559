"""The guide to erasure, walked from top to bottom: its commands work, and show what it says."""

import json
import shlex
from pathlib import Path
from uuid import UUID

import pytest

from pages import shows, steps
from soma_command import Soma
from soma_schemas.erasure_receipts import selector_digest

GUIDE = (Path(__file__).parents[3] / "docs/guides/erasure.md").read_text(encoding="utf-8")


def test_the_guide_works(at_home: Soma, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    key = at_home.home / "secrets/erasure-signing-key.public.pem"

    ran = []
    for step in steps(GUIDE):
        if step.language != "console":
            continue
        words = shlex.split(
            step.text.replace("~/.soma/secrets/erasure-signing-key.public.pem", shlex.quote(str(key)))
        )
        output = at_home(*words[1:])
        assert output.code == 0, (step.text, output)
        missing = [line for line in step.seen if not shows(line, output.out.splitlines())]
        assert missing == [], (step.text, output.out)
        ran.append(step)
    assert len(ran) == 9

    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert "customer-1842" not in json.dumps(receipt)
    assert at_home("search", "what does Mira drink?", "--namespace", "demo").out.count("Mira") == 0

    (tmp_path / "changed.json").write_text(
        json.dumps(receipt | {"completed_at": "2026-01-01T00:00:00.000000Z"})
    )
    refused = at_home("erase", "verify", "changed.json", "--key", str(key))
    assert refused.code == 1
    assert "the receipt was changed after it was signed" in refused.err


def test_the_receipt_in_the_guide_is_genuine_without_any_service(soma: Soma, tmp_path: Path) -> None:
    receipt, key = tmp_path / "receipt.json", tmp_path / "public.pem"
    printed = {step.language: step.text for step in steps(GUIDE)}
    receipt.write_text(printed["json"])
    key.write_text(printed["pem"])

    checked = soma("erase", "verify", str(receipt), "--key", str(key))

    assert checked.code == 0, checked.err
    said = json.loads(receipt.read_text())
    assert said["selector_sha256"] == selector_digest(UUID(said["request_id"]), "customer-1842")


def test_the_receipt_in_the_guide_has_the_fields_of_a_real_one(at_home: Soma) -> None:
    (example,) = [json.loads(step.text) for step in steps(GUIDE) if step.language == "json"]
    at_home("store", "Of one.", "--namespace", "one", "--subject", "somebody")
    real = json.loads(at_home("erase", "subject", "somebody", "--yes", "--json").out)["receipt"]

    assert set(example) == set(real)
    assert set(example["erased"]) == set(real["erased"])


def test_the_keys_of_a_home_are_the_owners_alone(at_home: Soma) -> None:
    found = sorted(at_home.home.glob("secrets/erasure-signing-key*"))

    assert [path.stat().st_mode & 0o777 for path in found] == [0o600, 0o600]


def test_an_erasure_that_nobody_asked_for_is_not_found(at_home: Soma) -> None:
    missing = at_home("erase", "show", "00000000-0000-7000-8000-000000000001")

    assert missing.code == 1
    assert "there is no erasure with this id" in missing.err
