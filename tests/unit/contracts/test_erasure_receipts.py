"""A receipt of an erasure proves what it says, or is refused."""

import json
import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soma_schemas.erasure_receipts import (
    FORMAT,
    ReceiptError,
    ReceiptSigner,
    SigningKeyError,
    canonical,
    new_signing_key,
    parse_receipt,
    public_key_of_file,
    selector_digest,
    verify,
)

REQUEST = UUID("01900000-0000-7000-8000-000000000001")


class Keys:
    """A pair of keys in files."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        private, public = new_signing_key()
        self.private, self.public = folder / "key.pem", folder / "public.pem"
        self.private.write_text(private)
        self.public.write_text(public)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
def signed(keys: Keys) -> dict[str, Any]:
    return ReceiptSigner.of_file(keys.private).sign(
        {
            "receipt": FORMAT,
            "request_id": str(REQUEST),
            "tenant": "acme",
            "erased": {"memories": 3},
            "note": "Zoë",
        }
    )


def test_a_receipt_proves_what_it_says_to_whoever_has_the_public_key(
    keys: Keys, signed: dict[str, Any]
) -> None:
    read = parse_receipt(json.dumps(signed, indent=2))

    verify(read, public_key_of_file(keys.public))

    assert read == signed


def test_a_receipt_can_be_checked_with_other_tools(
    keys: Keys, signed: dict[str, Any], tmp_path: Path
) -> None:
    import base64  # noqa: PLC0415  # as somebody else's script would

    message, signature = tmp_path / "message", tmp_path / "signature"
    unsigned = {name: value for name, value in signed.items() if name != "signature"}
    message.write_text(json.dumps(unsigned, sort_keys=True, separators=(",", ":"), ensure_ascii=False))
    signature.write_bytes(base64.b64decode(signed["signature"]))

    said = subprocess.run(
        (
            f"openssl pkeyutl -verify -pubin -rawin -inkey {keys.public} -in {message} -sigfile {signature}"
        ).split(),
        check=True,
        capture_output=True,
        text=True,
    )

    assert "Verified Successfully" in said.stdout


@given(place=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_changed_byte_is_seen(place: int, flip: int) -> None:
    private, public = new_signing_key()
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        load_pem_private_key,
        load_pem_public_key,
    )

    signer = ReceiptSigner(load_pem_private_key(private.encode(), None))  # type: ignore[arg-type]
    whole = signer.sign({"receipt": FORMAT, "erased": {"memories": 3, "dead_letters": 0}})
    text = bytearray(json.dumps(whole).encode())
    text[place % len(text)] ^= flip

    try:
        read = parse_receipt(bytes(text))
    except ReceiptError:
        return
    if canonical(read) != canonical(whole) or read["signature"] != whole["signature"]:
        with pytest.raises(ReceiptError):
            verify(read, load_pem_public_key(public.encode()))  # type: ignore[arg-type]
    else:
        assert read == whole  # white space


def test_another_key_is_named_and_refused(signed: dict[str, Any], tmp_path: Path) -> None:
    other = Keys(tmp_path / "other")

    with pytest.raises(ReceiptError, match=r"names signing key .* and the key given is"):
        verify(signed, public_key_of_file(other.public))


def test_another_key_under_the_name_of_the_first_is_refused(
    keys: Keys, signed: dict[str, Any], tmp_path: Path
) -> None:
    forged = ReceiptSigner.of_file(Keys(tmp_path / "other").private).sign(signed)

    with pytest.raises(ReceiptError, match="changed after it was signed"):
        verify(forged | {"signing_key_id": signed["signing_key_id"]}, public_key_of_file(keys.public))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "not json",
        '{"receipt": "soma-erasure/2"}',
        '{"receipt": "soma-erasure/1", "a": 1, "a": 2}',
        '{"receipt": "soma-erasure/1", "a": NaN}',
        "[" * 100_000,
    ],
)
def test_what_is_no_receipt_is_refused(text: str) -> None:
    with pytest.raises(ReceiptError):
        parse_receipt(text)


def test_a_receipt_without_a_signature_proves_nothing(keys: Keys, signed: dict[str, Any]) -> None:
    del signed["signature"]

    with pytest.raises(ReceiptError, match="not signed"):
        verify(signed, public_key_of_file(keys.public))


@pytest.mark.parametrize(
    "content", [None, b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"]
)
def test_a_file_without_a_key_is_refused_with_what_to_do(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(SigningKeyError) as refused:
        ReceiptSigner.of_file(path)
    with pytest.raises(SigningKeyError):
        public_key_of_file(path)

    assert "openssl genpkey" in str(refused.value.remedy)


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "x25519", "-out", path], check=True, capture_output=True
    )

    with pytest.raises(SigningKeyError, match="Ed25519"):
        ReceiptSigner.of_file(path)


def test_the_digest_of_a_selector_names_nobody_and_can_be_made_again() -> None:
    digest = selector_digest(REQUEST, "mira")

    assert digest is not None
    assert "mira" not in digest
    assert digest == selector_digest(REQUEST, "mira")
    assert digest != selector_digest(UUID(int=1), "mira")
    assert selector_digest(REQUEST, None) is None
