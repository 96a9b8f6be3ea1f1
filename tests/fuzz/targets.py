"""The targets by name: what is run on one input."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["TARGETS", "check_of", "dictionary_of"]

TARGETS = ("messages", "exchange")


def check_of(target: str) -> Callable[[bytes], None]:
    """What runs one input of the target and raises when something is wrong."""
    if target == "messages":
        from fuzz import messages

        return messages.check
    from fuzz import verdict

    return verdict.check


def dictionary_of(target: str) -> tuple[bytes, ...]:
    """Words worth putting into an input."""
    if target == "messages":
        from fuzz import messages

        return messages.DICTIONARY
    from fuzz import conversation, messages

    return conversation.DICTIONARY + messages.DICTIONARY
