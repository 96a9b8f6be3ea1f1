"""`python -m shedproxy` is the `shedproxy` command."""

from shedproxy.cli.main import run

if __name__ == "__main__":
    run()
