"""Tokens: only what the right key signed for now opens anything, and an issuer that is away locks nobody out."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from system import tokens
from system.settings import Settings
from system.tokens import (
    JWKS_FRESH_S,
    JWKS_PAUSE_S,
    JWKS_RETRY_S,
    Grant,
    KeysUnavailable,
    TokenChecker,
    TokenRefused,
    mint,
)
from tests.system.harness import eventually

SECRET = "a secret of at least sixty-four bytes, as its longest algorithm wants it"
NOW = 1_800_000_000.0
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


class Clock:
    """A wall clock that the test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Issuer:
    """A key set on loopback that can be changed, broken, made slow and counted."""

    def __init__(self) -> None:
        self.document: Any = {"keys": [jwk(RSA, "rsa"), jwk(EC, "ec"), jwk(ED, "ed")]}
        self.status = 200
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.url = ""

    async def answer(self, _: web.Request) -> web.Response:
        """The key set, once the gate is open."""
        self.asked += 1
        await self.gate.wait()
        body = self.document if isinstance(self.document, bytes) else json.dumps(self.document).encode()
        return web.Response(status=self.status, body=body, content_type="application/json")


def jwk(private: Any, key_id: str, **more: Any) -> dict[str, Any]:
    """The public half of a key, as an issuer shows it."""
    kinds: dict[Any, Any] = {
        rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
        ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
        ed25519.Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm,
    }
    algorithm = next(found for kind, found in kinds.items() if isinstance(private, kind))
    shown: dict[str, Any] = json.loads(algorithm.to_jwk(private.public_key()))
    return {name: value for name, value in shown.items() if name != "key_ops"} | {"kid": key_id, **more}


def signed(private: Any, algorithm: str, key_id: str | None, **claims: Any) -> str:
    """A token signed by a private key."""
    payload = {"sub": "ann", "scope": "stream", "exp": NOW + 60} | claims
    return jwt.encode(payload, private, algorithm=algorithm, headers={"kid": key_id} if key_id is not None else None)


def raw_token(header: dict[str, Any], claims: dict[str, Any], key: bytes | None = None) -> str:
    """A token made by hand, signed with HMAC-SHA256 or not at all."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    signature = b"" if key is None else hmac.new(key, b".".join(parts), hashlib.sha256).digest()
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


CLAIMS = {"sub": "ann", "scope": "stream", "exp": NOW + 60}


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    """An issuer of three keys."""
    made = Issuer()
    app = web.Application()
    app.router.add_get("/keys", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
    yield made
    made.gate.set()
    await runner.cleanup()


@pytest.fixture
def clock() -> Clock:
    """A clock at NOW."""
    return Clock()


def shared(clock: Clock, **settings: Any) -> TokenChecker:
    """A checker with the shared secret."""
    return TokenChecker(Settings(**({"jwt_hs256_secret": SECRET} | settings)), clock)


@pytest.fixture
async def public(issuer: Issuer, clock: Clock) -> AsyncIterator[TokenChecker]:
    """A checker that knows the issuer only."""
    checker = TokenChecker(Settings(jwks_url=issuer.url, jwt_hs256_secret=None), clock)
    yield checker
    await checker.close()


def minted(**options: Any) -> str:
    """A development token."""
    usual: dict[str, Any] = {"sub": "ann", "scope": "stream publish", "ttl_s": 60, "now": NOW}
    return mint(SECRET, **(usual | options))


async def test_a_shared_secret_grants_what_the_token_says(clock: Clock) -> None:
    """Subject, scopes and end come from the token."""
    grant = await shared(clock).check(minted())
    assert grant == Grant(subject="ann", scopes=frozenset({"stream", "publish"}), expires_at=NOW + 60)


@pytest.mark.parametrize(
    ("algorithm", "key", "key_id"), [("RS256", RSA, "rsa"), ("ES256", EC, "ec"), ("EdDSA", ED, "ed")]
)
async def test_the_issuers_keys_are_good_for_their_algorithm(
    public: TokenChecker, algorithm: str, key: Any, key_id: str
) -> None:
    """RSA, elliptic curves and Edwards curves verify by the key that the token names."""
    assert (await public.check(signed(key, algorithm, key_id))).subject == "ann"


FORGED: dict[str, Callable[[], str]] = {
    "another secret": lambda: mint("x" * 40, sub="ann", scope="stream", ttl_s=60, now=NOW),
    "no signature": lambda: raw_token({"alg": "none"}, CLAIMS),
    "no signature, other case": lambda: raw_token({"alg": "nOnE", "typ": "JWT"}, CLAIMS),
    "an empty signature": lambda: minted().rpartition(".")[0] + ".",
    "another payload": lambda: ".".join(
        [minted().split(".")[0], minted(sub="bob").split(".")[1], minted().split(".")[2]]
    ),
    "another algorithm of the family": lambda: jwt.encode(CLAIMS, SECRET, algorithm="HS512"),
    "an asymmetric algorithm": lambda: signed(RSA, "RS256", None),
    "no algorithm": lambda: raw_token({"typ": "JWT"}, CLAIMS, SECRET.encode()),
    "an algorithm that is no text": lambda: raw_token({"alg": ["HS256"]}, CLAIMS, SECRET.encode()),
    "a critical header": lambda: raw_token({"alg": "HS256", "crit": ["exp"]}, CLAIMS, SECRET.encode()),
    "two parts": lambda: minted().rpartition(".")[0],
    "four parts": lambda: minted() + ".x",
    "no token": lambda: "x",
    "dots": lambda: "..",
    "not ASCII": lambda: "é.ü.ø",
    "half a character": lambda: minted() + "\udcff",
    "too long": lambda: minted(pad="x" * 9_000),
    "no expiry": lambda: jwt.encode({"sub": "ann"}, SECRET),
    "no subject": lambda: jwt.encode({"exp": NOW + 60}, SECRET),
    "a number for a subject": lambda: raw_token({"alg": "HS256"}, CLAIMS | {"sub": 7}, SECRET.encode()),
    "an expiry that is no number": lambda: raw_token({"alg": "HS256"}, CLAIMS | {"exp": "soon"}, SECRET.encode()),
    "an expiry that is a list": lambda: raw_token({"alg": "HS256"}, CLAIMS | {"exp": [1]}, SECRET.encode()),
    "an expiry that is null": lambda: raw_token({"alg": "HS256"}, CLAIMS | {"exp": None}, SECRET.encode()),
    "an expiry that is not a number at all": lambda: raw_token(
        {"alg": "HS256"}, CLAIMS | {"exp": float("nan")}, SECRET.encode()
    ),
    "an endless expiry": lambda: raw_token({"alg": "HS256"}, CLAIMS | {"exp": float("inf")}, SECRET.encode()),
    "an expiry beyond floats": lambda: raw_token({"alg": "HS256"}, CLAIMS | {"exp": 10**400}, SECRET.encode()),
    "claims that are no object": lambda: raw_token({"alg": "HS256"}, [1], SECRET.encode()),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("how", FORGED)
async def test_nothing_else_passes_for_a_shared_secret(clock: Clock, how: str) -> None:
    """Each way to forge or garble a token is refused with a reason, and is never an exception of another kind.

    An expiry of 10^400 was an OverflowError, and one of NaN never came.
    """
    with pytest.raises(TokenRefused) as refused:
        await shared(clock).check(FORGED[how]())
    assert 10 < len(str(refused.value)) < 300
    assert SECRET not in str(refused.value)


async def test_a_public_key_is_no_secret(public: TokenChecker) -> None:
    """Algorithm confusion: a token signed by HMAC with the issuer's public key, which everybody has, is refused."""
    pem = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for key in (pem, pem.strip(), json.dumps(jwk(RSA, "rsa")).encode()):
        for key_id in ("rsa", ""):
            with pytest.raises(TokenRefused):
                await public.check(raw_token({"alg": "HS256", "kid": key_id}, CLAIMS, key))


@pytest.mark.parametrize(
    "made",
    [
        lambda: signed(OTHER_RSA, "RS256", "rsa"),
        lambda: signed(RSA, "RS256", "other"),
        lambda: signed(RSA, "RS256", None),
        lambda: signed(RSA, "RS512", "rsa"),
        lambda: signed(RSA, "PS256", "rsa"),
        lambda: signed(EC, "ES256", "rsa"),
        lambda: raw_token({"alg": "none", "kid": "rsa"}, CLAIMS),
        lambda: minted(),
    ],
    ids=["another key", "unknown kid", "no kid", "RS512", "PS256", "kid of another key", "none", "shared secret"],
)
async def test_the_key_decides_the_algorithm(public: TokenChecker, made: Any) -> None:
    """What verifies is the key under that id with that key's algorithm; what the token would like does not matter."""
    with pytest.raises(TokenRefused):
        await public.check(made())


async def test_keys_that_are_not_for_signatures_are_ignored(issuer: Issuer, public: TokenChecker) -> None:
    """Symmetric keys, keys for encryption and unknown kinds in a key set verify nothing; good ones beside them do."""
    secret = base64.urlsafe_b64encode(SECRET.encode()).decode()
    issuer.document = {
        "keys": [
            {"kty": "oct", "k": secret, "kid": "oct", "alg": "HS256"},
            jwk(OTHER_RSA, "enc", use="enc"),
            {"kty": "new", "kid": "new"},
            "junk",
            jwk(RSA, "rsa", use="sig", alg="RS256"),
        ]
    }
    assert await public.check(signed(RSA, "RS256", "rsa"))
    for token in (
        raw_token({"alg": "HS256", "kid": "oct"}, CLAIMS, SECRET.encode()),
        signed(OTHER_RSA, "RS256", "enc"),
    ):
        with pytest.raises(TokenRefused):
            await public.check(token)


@pytest.mark.parametrize(
    ("leeway_s", "late_s", "good"), [(0, -0.001, True), (0, 0, False), (5, 4.999, True), (5, 5, False)]
)
async def test_expiry_is_by_the_hosts_clock(clock: Clock, leeway_s: float, late_s: float, good: bool) -> None:
    """A token ends at `exp` plus the leeway on the given clock, exactly; the real time does not matter."""
    clock.now = NOW + 60 + late_s
    checker = shared(clock, jwt_leeway_s=leeway_s)
    if good:
        assert (await checker.check(minted())).expires_at == NOW + 60 + leeway_s
    else:
        with pytest.raises(TokenRefused, match="expired"):
            await checker.check(minted())


async def test_a_token_of_the_future_waits(clock: Clock) -> None:
    """`nbf` is kept, with the leeway."""
    token = minted(nbf=NOW + 10)
    with pytest.raises(TokenRefused, match="not valid yet"):
        await shared(clock).check(token)
    assert await shared(clock, jwt_leeway_s=10).check(token)


@pytest.mark.parametrize("scope", [None, 5, ["stream"], {"stream": True}, ""])
async def test_scopes_that_are_no_text_grant_nothing(clock: Clock, scope: Any) -> None:
    """Only the standard form, words in one string, grants a scope."""
    token = raw_token({"alg": "HS256"}, CLAIMS | {"scope": scope}, SECRET.encode())
    assert (await shared(clock).check(token)).scopes == frozenset()


async def test_audience_and_issuer_count_if_they_are_set(clock: Clock) -> None:
    """With an audience and an issuer configured, a token for others is refused; without, they are not looked at."""
    token = minted(aud="relay", iss="https://issuer.example")
    assert await shared(clock).check(token)
    assert await shared(clock, jwt_audience="relay", jwt_issuer="https://issuer.example").check(token)
    for wrong in ({"jwt_audience": "other"}, {"jwt_issuer": "https://other.example"}):
        with pytest.raises(TokenRefused):
            await shared(clock, **wrong).check(token)
        with pytest.raises(TokenRefused):
            await shared(clock, **wrong).check(minted())


async def test_both_kinds_of_key_side_by_side(issuer: Issuer, clock: Clock) -> None:
    """With a secret and an issuer, each token is checked by its own kind of key."""
    checker = TokenChecker(Settings(jwks_url=issuer.url, jwt_hs256_secret=SECRET), clock)
    try:
        assert await checker.check(minted())
        assert issuer.asked == 0, "a shared secret needs no issuer"
        assert await checker.check(signed(RSA, "RS256", "rsa"))
    finally:
        await checker.close()


async def test_keys_are_remembered_and_renewed(issuer: Issuer, public: TokenChecker, clock: Clock) -> None:
    """One fetch serves all tokens for five minutes; then the set is fetched again, and a withdrawn key is no good."""
    for _ in range(3):
        await public.check(signed(RSA, "RS256", "rsa"))
    assert issuer.asked == 1
    issuer.document = {"keys": [jwk(EC, "ec")]}
    clock.now += JWKS_FRESH_S
    with pytest.raises(TokenRefused, match="no key 'rsa'"):
        await public.check(signed(RSA, "RS256", "rsa", exp=clock.now + 60))
    assert issuer.asked == 2


async def test_a_new_key_is_found_and_invented_ones_cost_little(
    issuer: Issuer, public: TokenChecker, clock: Clock
) -> None:
    """A rotated key is fetched when it is first seen; a flood of unknown ids fetches once in a pause."""
    await public.check(signed(RSA, "RS256", "rsa"))
    for number in range(20):
        with pytest.raises(TokenRefused, match="no key"):
            await public.check(signed(OTHER_RSA, "RS256", f"invented{number}"))
    assert issuer.asked == 1
    issuer.document = {"keys": [jwk(RSA, "rsa"), jwk(OTHER_RSA, "new")]}
    clock.now += JWKS_PAUSE_S
    assert await public.check(signed(OTHER_RSA, "RS256", "new", exp=clock.now + 60))
    assert issuer.asked == 2


async def test_an_issuer_that_is_away_locks_nobody_out(issuer: Issuer, public: TokenChecker, clock: Clock) -> None:
    """Known keys stay good while the issuer answers nothing useful; it is asked again only after a pause."""
    await public.check(signed(RSA, "RS256", "rsa"))
    clock.now += JWKS_FRESH_S
    issuer.status = 500
    for _ in range(5):
        assert await public.check(signed(RSA, "RS256", "rsa", exp=clock.now + 60))
    assert issuer.asked == 2
    issuer.status = 200
    clock.now += JWKS_RETRY_S
    assert await public.check(signed(RSA, "RS256", "rsa", exp=clock.now + 60))
    assert issuer.asked == 3


@pytest.mark.parametrize(
    "document", [b"", b"junk", b"[]", b"null", b"{}", b'{"keys": 5}', b'{"keys": [1]}', b'{"keys": []}', b"\xff"]
)
async def test_without_keys_nothing_can_be_said_of_a_token(
    issuer: Issuer, public: TokenChecker, clock: Clock, document: bytes
) -> None:
    """Before the first key set is read, a token is neither good nor bad: the client is to try again, not to give up.

    It used to be refused as if its key did not exist, and an answer that was a list was a fault in the relay.
    """
    good, issuer.document = issuer.document, document
    token = signed(RSA, "RS256", "rsa")
    with pytest.raises(KeysUnavailable):
        await public.check(token)
    issuer.document = good
    clock.now += JWKS_RETRY_S
    assert await public.check(token)


async def test_an_issuer_that_hangs_holds_up_no_known_key(
    issuer: Issuer, public: TokenChecker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one token waits for a slow issuer, tokens with known keys pass at once.

    Every check once stood in one line for the issuer, five seconds each; tokens with invented key ids, which anybody
    can make, could keep everyone waiting.
    """
    monkeypatch.setattr(tokens, "JWKS_TIMEOUT_S", 0.2)
    await public.check(signed(RSA, "RS256", "rsa"))
    clock.now += JWKS_PAUSE_S
    issuer.gate.clear()
    stuck = asyncio.create_task(public.check(signed(OTHER_RSA, "RS256", "invented")))
    await eventually(lambda: issuer.asked == 2, "a question to the issuer")
    clock.now += JWKS_FRESH_S
    for _ in range(3):
        assert await public.check(signed(RSA, "RS256", "rsa", exp=clock.now + 60))
        assert not stuck.done(), "they passed while the first still waited"
    with pytest.raises(KeysUnavailable):
        await stuck


async def test_a_clock_that_is_put_back_does_not_keep_old_keys_for_ever(
    issuer: Issuer, public: TokenChecker, clock: Clock
) -> None:
    """After the wall clock was an hour ahead and is corrected, keys are fetched as ever."""
    clock.now += 3_600
    await public.check(signed(RSA, "RS256", "rsa", exp=clock.now + 60))
    clock.now -= 3_600
    await public.check(signed(RSA, "RS256", "rsa"))
    assert issuer.asked == 2
