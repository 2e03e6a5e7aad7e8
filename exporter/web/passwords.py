"""Verification of passwords against bcrypt hashes.

A bcrypt hash takes tens of milliseconds to several seconds to verify, in threads. Results are cached, so a client that
repeats its password waits only once. Wrong passwords cannot delay or evict others:

- Accepted and rejected passwords are cached apart.
- For each pair of client address and user, one password is verified at a time, the newest first. All unknown users of
  an address count as one user, and use a thread of their own.
"""

import asyncio
import hmac
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakValueDictionary

import bcrypt

MAX_REJECTED = 1000  # cached results
_KNOWN_USER_THREADS = 2
_MAX_PASSWORD_LENGTH = 72  # bytes; bcrypt ignores the rest


class _Threads:
    """Some threads. Calls that wait for one end with the event loop; a pool would make the exit of the program wait."""

    def __init__(self, number: int) -> None:
        self._free = asyncio.Semaphore(number)
        self._pool = ThreadPoolExecutor(number, "password")

    async def run(self, function: Callable[..., bool], *args: bytes) -> bool:
        """Call a function in a thread."""
        async with self._free:
            return await asyncio.get_running_loop().run_in_executor(self._pool, function, *args)


class NewestFirstLock:
    """A lock that goes to the newest of those who wait for it.

    A client that floods the exporter waits for its own requests, and then sends the next ones: among them another
    client's request is soon the newest one, but not the oldest one before its timeout.
    """

    def __init__(self) -> None:
        self._locked = False
        self._waiting: list[asyncio.Future[None]] = []

    async def acquire(self) -> None:
        """Wait for the lock."""
        if not self._locked:
            self._locked = True
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the lock was passed on at the same time
                self.release()
            raise
        finally:
            self._waiting = [other for other in self._waiting if other is not turn]

    def release(self) -> None:
        """Pass the lock on."""
        while self._waiting:
            turn = self._waiting.pop()
            if not turn.cancelled():
                turn.set_result(None)
                return
        self._locked = False


class PasswordVerifier:
    """Verifies passwords, in an event loop."""

    def __init__(self) -> None:
        self._secret = os.urandom(32)
        self._accepted: dict[bytes, bytes] = {}  # digest of the current hash and password, by user
        self._rejected: dict[bytes, None] = {}  # digests; oldest first
        self._locks: WeakValueDictionary[tuple[str, bytes | None], NewestFirstLock] = WeakValueDictionary()
        self._running: set[asyncio.Task[bool]] = set()
        self._known_users, self._unknown_users = _Threads(_KNOWN_USER_THREADS), _Threads(1)

    async def verify(self, users: Mapping[bytes, bytes], user: bytes, password: bytes, client: str) -> bool:
        """Whether the password is that of a user; `users` are bcrypt hashes by name.

        `client` is the address that the request came from. An unknown user takes the time of a known one.
        """
        password = password[:_MAX_PASSWORD_LENGTH]
        digest = self._digest(user, users.get(user, b""), password)
        result = self._cached(user, digest)
        if result is not None:
            return result
        lock = self._locks.setdefault((client, user if user in users else None), NewestFirstLock())
        await lock.acquire()
        verification = asyncio.create_task(self._verify(users, user, password, digest, lock))
        self._running.add(verification)
        verification.add_done_callback(self._running.discard)
        return await asyncio.shield(verification)  # if the client leaves, the result is ready when it comes back

    async def _verify(
        self, users: Mapping[bytes, bytes], user: bytes, password: bytes, digest: bytes, lock: NewestFirstLock
    ) -> bool:
        """Verify a password unless its result is cached by now, cache the result, and release the lock."""
        try:
            result = self._cached(user, digest)
            if result is None:
                known = user in users
                bcrypt_hash = users[user] if known else self._unmatchable_hash(users, user)
                threads = self._known_users if known else self._unknown_users
                result = await threads.run(bcrypt.checkpw, password, bcrypt_hash) and known
                self._store(users, user, digest, accepted=result)
            return result
        finally:
            lock.release()

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
