"""The ledger on disk: whole, and believed only when it agrees with itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from shedproxy.core import BulletState, Errand, Ledger, OutlierReason
from shedproxy.errors import DocumentInvalidError
from shedproxy.supervisor.bullet_file import BulletFile, bullet_file_of

SIZES = {"cell:a": 9, "zone:z": 9, "all": 9}


def spent(count: int) -> Ledger:
    ledger = Ledger(known=(("a", "h1"),))
    for number in range(count):
        after = ledger.spend("a", f"h{number}", "z", OutlierReason.CHECK, SIZES)
        assert after is not None
        ledger = after
    return ledger


def test_it_lies_beside_what_was_learnt():
    assert bullet_file_of("/var/lib/s") == "/var/lib/s.bullets"
    assert bullet_file_of("") == ""
    BulletFile("").save(spent(1))
    assert BulletFile("").read() == Ledger()


def test_what_is_kept_is_what_is_read_and_its_name_stays(tmp_path):
    file = BulletFile(str(tmp_path / "b"))
    assert file.read() == Ledger()
    ledger = spent(3)
    bullet = replace(ledger.bullets[1], state=BulletState.GONE, errand=Errand.TOLD, newcomer="h9")
    ledger = ledger.put(bullet).reload(ledger.bullets[0])
    file.save(ledger)
    again = BulletFile(str(tmp_path / "b"))
    assert again.id != file.id
    assert again.read() == ledger
    assert again.id == file.id


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"serial": 2', '"serial": 7'),
        lambda text: "[]",
        lambda text: "{}",
        lambda text: "",
    ],
)
def test_a_damaged_one_is_not_believed(tmp_path, damage):
    path = tmp_path / "b"
    BulletFile(str(path)).save(spent(2))
    text = damage(path.read_text())
    path.write_text(text)
    with pytest.raises(DocumentInvalidError, match="damaged"):
        BulletFile(str(path)).read()
    assert path.read_text() == text


def test_one_that_contradicts_itself_is_not_believed_whatever_its_digest_says(tmp_path):
    path = tmp_path / "b"
    BulletFile(str(path)).save(replace(spent(2), bullets=()))
    with pytest.raises(DocumentInvalidError, match="2 out, and 0 bullets"):
        BulletFile(str(path)).read()


def test_whoever_is_killed_while_writing_leaves_a_whole_ledger_and_no_count_is_lost(tmp_path):
    """A process that spends one bullet after another is killed at six moments."""
    path = tmp_path / "b"
    program = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from shedproxy.core import OutlierReason, Ledger\n"
        "from shedproxy.supervisor.bullet_file import BulletFile\n"
        "file = BulletFile(sys.argv[1]); ledger = file.read()\n"
        "sizes = dict.fromkeys(('cell:a', 'zone:z', 'all'), 10**9)\n"
        "while True:\n"
        "    ledger = ledger.spend('a', 'h%d' % ledger.serial, 'z', OutlierReason.SLOW, sizes)\n"
        "    file.save(ledger); print(ledger.serial, flush=True)\n"
        "    if len(ledger.bullets) > 3:\n"
        "        ledger = ledger.reload(ledger.bullets[0]); file.save(ledger)\n"
    )
    seen = 0
    for moment in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(path), *sys.path], stdout=subprocess.PIPE
        ) as process:
            for _ in range(3 + moment):
                told = int(process.stdout.readline())
            os.kill(process.pid, signal.SIGKILL)
            told = max([told, *(int(line) for line in process.stdout.read().split())])
        ledger = BulletFile(str(path)).read()
        assert told <= ledger.serial <= told + 1
        assert ledger.serial > seen
        assert ledger.out("all") == len(ledger.bullets)
        assert json.loads(path.read_text())["format"] == "shedproxy-bullets"
        seen = ledger.serial
