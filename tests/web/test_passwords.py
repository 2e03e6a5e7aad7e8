"""Verification of passwords: equal work for all users, cached results, and no delay by wrong passwords of others."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator

import bcrypt
import pytest

from exporter.web import passwords
from exporter.web.passwords import NewestFirstLock, PasswordVerifier

COST = 4


def hashed(password: bytes, cost: int = COST, prefix: bytes = b"2b") -> bytes:
    """A bcrypt hash."""
    return bcrypt.hashpw(password, bcrypt.gensalt(cost)).replace(b"2b", prefix, 1)


ALICE, BOB = hashed(b"alice123"), hashed(b"bob123")
USERS = {b"alice": ALICE, b"bob": BOB}
STAND_INS = (b"fakepassword", b"", b"z" * 31, b"alice123")


class Bcrypt:
    """Records what is verified; can hold some verifications."""

    def __init__(self) -> None:
        self.verified: list[tuple[bytes, bytes]] = []
        self.released = threading.Event()
        self.result: bool | None = None
        self.checkpw = bcrypt.checkpw

    def __call__(self, password: bytes, bcrypt_hash: bytes) -> bool:
        """Verify a password; one that starts with `held` waits."""
        self.verified.append((password, bcrypt_hash))
        if password.startswith(b"held"):
            assert self.released.wait(20)
        return self.checkpw(password, bcrypt_hash) if self.result is None else self.result


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bcrypt]:
    """The calls of bcrypt."""
    calls = Bcrypt()
    monkeypatch.setattr(bcrypt, "checkpw", calls)
    yield calls
    calls.released.set()


def run(test: Callable[[PasswordVerifier], Coroutine[None, None, None]]) -> None:
    """Run a test with a new verifier in an event loop."""

    async def main() -> None:
        async with asyncio.timeout(60):
            await test(PasswordVerifier())

    asyncio.run(main())


async def settle() -> None:
    """Let all tasks run until they wait for a thread or for each other."""
    for _ in range(5):
        await asyncio.sleep(0)


async def until_verifying(calls: Bcrypt, number: int) -> None:
    """Wait until a number of verifications have begun, and no further ones wait for a thread only."""
    while len(calls.verified) < number:
        await asyncio.sleep(0.01)
    await settle()


def test_right_and_wrong_passwords_are_verified_once(calls: Bcrypt) -> None:
    async def test(verifier: PasswordVerifier) -> None:
        for user, password, result in (
            (b"alice", b"alice123", True),
            (b"alice", b"alice1234", False),
            (b"alice", b"bob123", False),
            (b"bob", b"bob123", True),
            (b"carol", b"alice123", False),
            (b"", b"", False),
            (b"alice", b"", False),
        ):
            before = len(calls.verified)
            results = [await verifier.verify(USERS, user, password, "a") for _ in range(3)]
            assert results == [result] * 3
            assert len(calls.verified) == before + 1

    run(test)


@pytest.mark.parametrize("prefix", [b"2a", b"2b", b"2y"])
@pytest.mark.parametrize("cost", [4, 5, 10])
def test_hashes_of_all_versions_and_costs(prefix: bytes, cost: int) -> None:
    async def test(verifier: PasswordVerifier) -> None:
        users = {b"alice": hashed(b"secret", cost, prefix)}
        assert await verifier.verify(users, b"alice", b"secret", "a")
        assert not await verifier.verify(users, b"alice", b"Secret", "a")

    run(test)


@pytest.mark.parametrize("length", [72, 73, 100, 60_000])
def test_only_the_first_72_bytes_of_a_password_count(length: int) -> None:
    """As in the toolkit and in htpasswd."""

    async def test(verifier: PasswordVerifier) -> None:
        users = {b"alice": hashed(b"x" * 72)}
        assert await verifier.verify(users, b"alice", b"x" * length, "a")
        assert not await verifier.verify(users, b"alice", b"x" * 71 + b"y" * length, "a")
        assert not await verifier.verify(users, b"bob", b"x" * length, "a")

    run(test)


@pytest.mark.parametrize("password", [b"\0", b"alice123\0x", b"\xff\xfe", "pässwörd".encode(), b":", b"a:b"])
def test_any_bytes_may_be_a_password(password: bytes) -> None:
    async def test(verifier: PasswordVerifier) -> None:
        assert await verifier.verify({b"alice": hashed(password)}, b"alice", password, "a")
        assert not await verifier.verify(USERS, b"alice", password, "a")

    run(test)


def test_an_unknown_user_takes_as_much_work_as_a_known_one(calls: Bcrypt) -> None:
    """The cost of its hash is that of one of the users, always the same one."""

    async def test(verifier: PasswordVerifier) -> None:
        users = {b"alice": hashed(b"a", 4), b"bob": hashed(b"b", 5)}
        costs = set()
        for number in range(30):
            name = b"unknown%d" % number
            for password in (b"x", b"y"):
                assert not await verifier.verify(users, name, password, "a")
            hashes = [bcrypt_hash for _, bcrypt_hash in calls.verified[-2:]]
            assert hashes[0][:7] == hashes[1][:7]
            costs.add(hashes[0][4:6])
        assert costs == {b"04", b"05"}
        assert len(calls.verified) == 60

    run(test)


def test_no_password_matches_the_hash_of_an_unknown_user(calls: Bcrypt) -> None:
    async def test(verifier: PasswordVerifier) -> None:
        for password in STAND_INS:
            for _ in range(2):  # cold and cached
                assert not await verifier.verify(USERS, b"carol", password, "a")
        assert {bcrypt_hash[-31:] for _, bcrypt_hash in calls.verified} == {b"z" * 31}
        calls.result = True  # even if one did
        for _ in range(2):
            assert not await verifier.verify(USERS, b"carol", b"other", "a")

    run(test)


def test_parts_of_user_hash_and_password_are_not_confused_in_the_cache() -> None:
    """CVE-2022-46146 of the toolkit: its key of the cache was the three joined."""

    async def test(verifier: PasswordVerifier) -> None:
        assert await verifier.verify(USERS, b"alice", b"alice123", "a")
        for cut in range(1, 8):
            joined = b"alice" + ALICE + b"alice123"
            for user, password in (
                (joined[: 5 + cut], joined[5 + cut :]),
                (b"alice"[:-cut] if cut < 5 else b"", b"alice"[-cut:] + b"alice123"),
                (b"alice" + ALICE, b"alice123"),
                (b"alice", ALICE + b"alice123"),
            ):
                assert not await verifier.verify(USERS, user, password, "a")

    run(test)


def test_a_changed_hash_or_a_removed_user_invalidates_the_cache() -> None:
    async def test(verifier: PasswordVerifier) -> None:
        new = {b"alice": hashed(b"new")}
        assert await verifier.verify(USERS, b"alice", b"alice123", "a")
        assert not await verifier.verify(USERS, b"alice", b"new", "a")
        assert not await verifier.verify(new, b"alice", b"alice123", "a")
        assert await verifier.verify(new, b"alice", b"new", "a")
        assert not await verifier.verify({b"bob": BOB}, b"alice", b"new", "a")
        assert not await verifier.verify({b"bob": BOB}, b"alice", b"alice123", "a")
        assert await verifier.verify(USERS, b"alice", b"alice123", "a")

    run(test)


def test_rejected_passwords_never_evict_accepted_ones_and_are_bounded(
    calls: Bcrypt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "MAX_REJECTED", 10)

    async def test(verifier: PasswordVerifier) -> None:
        assert await verifier.verify(USERS, b"alice", b"alice123", "a")
        for number in range(50):
            assert not await verifier.verify(USERS, b"alice", b"wrong%d" % number, "a")
        assert len(verifier._rejected) == 10
        verified = len(calls.verified)
        assert await verifier.verify(USERS, b"alice", b"alice123", "b")
        assert not await verifier.verify(USERS, b"alice", b"wrong49", "a")
        assert len(calls.verified) == verified
        assert not await verifier.verify(USERS, b"alice", b"wrong0", "a")
        assert len(calls.verified) == verified + 1

    run(test)


def test_the_cache_contains_no_password() -> None:
    async def test(verifier: PasswordVerifier) -> None:
        assert await verifier.verify(USERS, b"alice", b"alice123", "a")
        assert not await verifier.verify(USERS, b"alice", b"hunter2", "a")
        assert {len(digest) for digest in (*verifier._accepted.values(), *verifier._rejected)} == {32}
        other = PasswordVerifier()
        assert await other.verify(USERS, b"alice", b"alice123", "a")
        assert other._accepted != verifier._accepted  # the key is random

    run(test)


def test_wrong_passwords_of_others_do_not_delay_a_first_verification(calls: Bcrypt) -> None:
    async def test(verifier: PasswordVerifier) -> None:
        def flood(user: bytes, client: str) -> list[asyncio.Task[bool]]:
            return [
                asyncio.create_task(verifier.verify(USERS, user, b"held%d" % number, client)) for number in range(100)
            ]

        flooding = flood(b"unknown", "a") + flood(b"unknown", "b") + flood(b"alice", "a")
        await until_verifying(calls, 2)
        assert await verifier.verify(USERS, b"bob", b"bob123", "a")  # another user of the same address
        assert await verifier.verify(USERS, b"alice", b"alice123", "c")  # the same user from another address
        assert await verifier.verify(USERS, b"alice", b"alice123", "a")  # cached by now
        held = [password for password, _ in calls.verified if password.startswith(b"held")]
        assert len(held) == 2  # one of an unknown user, and one of alice
        assert not any(task.done() for task in flooding)
        calls.released.set()
        assert await asyncio.gather(*flooding) == [False] * 300

    run(test)


def test_a_request_does_not_wait_for_those_of_the_same_client_and_user_that_came_before(calls: Bcrypt) -> None:
    async def test(verifier: PasswordVerifier) -> None:
        wrong = [asyncio.create_task(verifier.verify(USERS, b"alice", b"held%d" % n, "a")) for n in range(100)]
        await until_verifying(calls, 1)
        right = asyncio.create_task(verifier.verify(USERS, b"alice", b"alice123", "a"))
        await settle()
        calls.released.set()
        assert await right
        assert await asyncio.gather(*wrong) == [False] * 100
        assert [password for password, _ in calls.verified[:2]] == [b"held0", b"alice123"]

    run(test)


def test_a_lock_goes_to_the_newest_that_still_waits() -> None:
    async def test(_verifier: PasswordVerifier) -> None:
        lock, order = NewestFirstLock(), []

        async def use(number: int) -> None:
            await lock.acquire()
            order.append(number)
            await asyncio.sleep(0)
            lock.release()

        for cancelled in ((), (3,), (1, 2, 3), (0,)):
            order.clear()
            await lock.acquire()
            tasks = [asyncio.create_task(use(number)) for number in range(4)]
            await settle()
            for number in cancelled:
                tasks[number].cancel()
            lock.release()  # before the cancelled ones notice
            await asyncio.gather(*tasks, return_exceptions=True)
            assert order == [number for number in (3, 2, 1, 0) if number not in cancelled]
        await lock.acquire()
        tasks = [asyncio.create_task(use(number)) for number in (7, 8)]
        await settle()
        order.clear()
        lock.release()
        tasks[1].cancel()  # it has just been given the lock
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == [7]
        await lock.acquire()  # free again

    run(test)


def test_the_same_password_is_verified_once_for_parallel_requests(calls: Bcrypt) -> None:
    async def test(verifier: PasswordVerifier) -> None:
        requests = [(b"alice", b"alice123"), (b"alice", b"alice1234"), (b"carol", b"alice123")] * 150
        results = await asyncio.gather(*(verifier.verify(USERS, *request, "a") for request in requests))
        assert results == [True, False, False] * 150
        assert len(calls.verified) == 3

    run(test)


def test_a_verification_ends_although_its_client_has_left_and_those_that_wait_do_not_start(calls: Bcrypt) -> None:
    """A client whose timeout is shorter than one verification gets in with a later request."""

    async def test(verifier: PasswordVerifier) -> None:
        users = {b"alice": hashed(b"held right")}
        requests = [
            asyncio.create_task(verifier.verify(users, b"alice", password, "a"))
            for password in (b"held right", b"second", b"third")
        ]
        await until_verifying(calls, 1)
        for request in requests:
            request.cancel()
        await settle()
        assert all(request.cancelled() for request in requests)
        calls.released.set()
        assert await verifier.verify(users, b"alice", b"held right", "a")
        assert [password for password, _ in calls.verified] == [b"held right"]

    run(test)


def test_only_running_verifications_delay_the_exit_of_the_program(calls: Bcrypt) -> None:
    async def test(verifier: PasswordVerifier) -> None:
        waiting = [
            asyncio.create_task(verifier.verify(USERS, user, b"held", f"192.0.2.{number}"))
            for user in (b"alice", b"unknown")
            for number in range(10)
        ]
        await until_verifying(calls, 3)
        assert len(calls.verified) == 3
        threads = (verifier._known_users, verifier._unknown_users)
        assert [pool._pool._work_queue.qsize() for pool in threads] == [0, 0]
        calls.released.set()
        assert await asyncio.gather(*waiting) == [False] * 20

    run(test)


def test_nothing_is_kept_of_a_client(calls: Bcrypt) -> None:
    async def test(verifier: PasswordVerifier) -> None:
        for number in range(5):
            assert not await verifier.verify(USERS, b"alice", b"wrong%d" % number, f"192.0.2.{number}")
        await settle()
        assert len(calls.verified) == 5
        assert (len(verifier._locks), len(verifier._running)) == (0, 0)

    run(test)
