"""The command line of a worker, and what it inherits."""

from __future__ import annotations

from shedproxy.dataplane.worker_options import parse_options
from shedproxy.supervisor.worker_command import WorkerCommand


def options_of(command: WorkerCommand):
    arguments = command.argv(1, 2, channel_fd=8, stack_fd=9)
    return parse_options(arguments[arguments.index("--kind") :])


def test_a_worker_reads_what_its_command_says():
    command = WorkerCommand(
        page_fd=3, listen_fds=(4, 5), workers=2, bell_fds=(6,), table_fd=7, kind="wire"
    )
    options = options_of(command)
    assert (options.index, options.region, options.workers) == (1, 2, 2)
    assert (options.page_fd, options.table_fd) == (3, 7)
    assert (options.channel_fd, options.stack_fd) == (8, 9)
    assert options.listen_fds == (4, 5)
    assert options.is_shared
    assert sorted(command.fds) == [3, 4, 5, 6, 7]


def test_one_worker_shares_nothing_and_maps_no_tables():
    command = WorkerCommand(page_fd=3, listen_fds=(4,))
    options = options_of(command)
    assert not options.is_shared
    assert options.table_fd == -1
    assert command.fds == (3, 4)
