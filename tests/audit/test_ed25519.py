"""Signatures in plain Python: as those of the library, for good ones and for any that were changed."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as some

from anomalist.audit.ed25519 import ed25519_verify
from anomalist.audit.keys import signature_fits


def test_the_first_vector_of_the_standard() -> None:
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    signature = bytes.fromhex(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b"
    )
    assert ed25519_verify(public, signature, b"")
    assert not ed25519_verify(public, signature, b"x")


@settings(max_examples=25)
@given(some.binary(min_size=32, max_size=32), some.binary(max_size=80))
def test_it_accepts_what_the_library_signs(seed: bytes, message: bytes) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    assert ed25519_verify(key.public_key().public_bytes_raw(), key.sign(message), message)


@settings(max_examples=25)
@given(some.integers(0, 95), some.integers(1, 255))
def test_it_refuses_what_the_library_refuses(at: int, by: int) -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    both = bytearray(key.public_key().public_bytes_raw() + key.sign(b"message"))
    both[at] = (both[at] + by) % 256
    public, signature = bytes(both[:32]), bytes(both[32:])
    assert ed25519_verify(public, signature, b"message") == signature_fits(public, signature, b"message")


def test_what_is_no_signature_is_refused() -> None:
    assert not ed25519_verify(b"", b"", b"")
    assert not ed25519_verify(bytes(32), bytes(63), b"")
