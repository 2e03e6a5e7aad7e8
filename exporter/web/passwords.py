"""Verification of passwords against bcrypt hashes.

A bcrypt hash takes tens of milliseconds to several seconds to verify, in threads. Results are cached, so a client that
repeats its password waits only once. Wrong passwords cannot delay or evict others:

- Accepted and rejected passwords are cached apart.
- Each pair of client address and user is verified in its own order, one password at a time. All unknown users of an
  address count as one user, and use a thread of their own.
"""

import asyncio
import hmac
import os
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakValueDictionary

import bcrypt

MAX_REJECTED = 1000  # cached results
MAX_WAITING_OF_CLIENT = 500  # verifications per user and client address; all unknown users count as one
MAX_WAITING = 5000  # verifications
_KNOWN_USER_THREADS = 2
_MAX_PASSWORD_LENGTH = 72  # bytes; bcrypt ignores the rest


class TooManyVerificationsError(Exception):
    """More passwords wait to be verified than a server should accept."""


class PasswordVerifier:
    """Verifies passwords, in an event loop."""

    def __init__(self) -> None:
        self._secret = os.urandom(32)
        self._accepted: dict[bytes, bytes] = {}  # digest of the current hash and password, by user
        self._rejected: dict[bytes, None] = {}  # digests; oldest first
        self._locks: WeakValueDictionary[tuple[str, bytes | None], asyncio.Lock] = WeakValueDictionary()
        self._waiting: Counter[tuple[str, bytes | None]] = Counter()
        self._known_users = ThreadPoolExecutor(_KNOWN_USER_THREADS, "password")
        self._unknown_users = ThreadPoolExecutor(1, "password-of-unknown-user")

    async def verify(self, users: Mapping[bytes, bytes], user: bytes, password: bytes, client: str) -> bool:
        """Whether the password is that of a user; `users` are bcrypt hashes by name.

        `client` is the address that the request came from. An unknown user takes the time of a known one.
        Raises TooManyVerificationsError.
        """
        password = password[:_MAX_PASSWORD_LENGTH]
        digest = self._digest(user, users.get(user, b""), password)
        result = self._cached(user, digest)
        if result is not None:
            return result
        lane = (client, user if user in users else None)
        if self._waiting[lane] >= MAX_WAITING_OF_CLIENT or self._waiting.total() >= MAX_WAITING:
            raise TooManyVerificationsError
        self._waiting[lane] += 1
        try:
            async with self._locks.setdefault(lane, asyncio.Lock()):
                result = self._cached(user, digest)
                if result is None:
                    result = await self._verify(users, user, password)
                    self._store(users, user, digest, accepted=result)
                return result
        finally:
            self._waiting[lane] -= 1
            self._waiting += Counter()  # removes zeros

    async def _verify(self, users: Mapping[bytes, bytes], user: bytes, password: bytes) -> bool:
        known = user in users
        bcrypt_hash = users[user] if known else self._unmatchable_hash(users, user)
        threads = self._known_users if known else self._unknown_users
        matches = await asyncio.get_running_loop().run_in_executor(threads, bcrypt.checkpw, password, bcrypt_hash)
        return known and matches

    def _unmatchable_hash(self, users: Mapping[bytes, bytes], user: bytes) -> bytes:
        """A hash with the cost of one of the users, always the same one for a name. No hash ends with `z`."""
        costs = sorted(int(bcrypt_hash[4:6]) for bcrypt_hash in users.values())
        cost = costs[int.from_bytes(self._digest(user)) % len(costs)]
        return bcrypt.gensalt(cost) + b"z" * 31

    def _cached(self, user: bytes, digest: bytes) -> bool | None:
        if hmac.compare_digest(self._accepted.get(user, b""), digest):
            return True
        return False if digest in self._rejected else None

    def _store(self, users: Mapping[bytes, bytes], user: bytes, digest: bytes, *, accepted: bool) -> None:
        if accepted:
            self._accepted = {name: value for name, value in self._accepted.items() if name in users} | {user: digest}
            return
        if len(self._rejected) >= MAX_REJECTED:
            del self._rejected[next(iter(self._rejected))]
        self._rejected[digest] = None

    def _digest(self, *parts: bytes) -> bytes:
        """A keyed digest. The length of each part precedes it: other parts have another digest."""
        message = b"".join(len(part).to_bytes(4) + part for part in parts)
        return hmac.digest(self._secret, message, "sha256")
