"""A worker that cannot read the page it was given, in a way that depends on its number."""

from __future__ import annotations

import os
import sys

from shedproxy.dataplane.worker import main
from shedproxy.dataplane.worker_options import parse_options

options = parse_options(sys.argv[1:])
match options.index:
    case 1:  # missing
        os.close(options.page_fd)
    case 2:  # cut short, by a hand that could: the supervisor's own cannot be
        short = os.memfd_create("short")
        os.write(short, os.pread(options.page_fd, 8192, 0))
        os.dup2(short, options.page_fd)
    case 3:  # of another version
        other = os.memfd_create("other")
        os.ftruncate(other, os.fstat(options.page_fd).st_size)
        os.pwrite(other, b"shedpage\xff", 0)
        os.dup2(other, options.page_fd)
sys.exit(main())
