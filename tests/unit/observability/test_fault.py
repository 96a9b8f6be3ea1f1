import pytest

from shedproxy.observability.fault import Fault


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault.BAD_REQUEST, 400),
        (Fault.HEAD_TIMEOUT, 408),
        (Fault.BODY_TIMEOUT, 408),
        (Fault.LENGTH_REQUIRED, 411),
        (Fault.BODY_TOO_LARGE, 413),
        (Fault.TARGET_TOO_LONG, 414),
        (Fault.EXPECTATION, 417),
        (Fault.HEAD_TOO_LARGE, 431),
        (Fault.METHOD, 501),
        (Fault.VERSION, 505),
        (Fault.UPSTREAM_CONNECT, 502),
        (Fault.UPSTREAM_CONNECT_TIMEOUT, 504),
        (Fault.UPSTREAM_CLOSED, 502),
        (Fault.UPSTREAM_BAD_RESPONSE, 502),
        (Fault.UPSTREAM_TIMEOUT, 504),
        (Fault.CLIENT_GONE, 499),
        (Fault.SLOW_CLIENT, 408),
        (Fault.INTERNAL, 500),
        (Fault.METHOD_NOT_ALLOWED, 405),
    ],
)
def test_every_fault_has_the_status_its_cause_asks_for(fault, status):
    assert fault.status == status


def test_what_is_over_a_limit_is_what_settings_could_allow():
    assert {fault.status for fault in Fault if fault.is_over_limit} == {
        408, 411, 413, 414, 417, 431,
    }  # fmt: skip


def test_the_values_are_slot_numbers_without_a_gap():
    assert [int(fault) for fault in Fault] == list(range(len(Fault)))


def test_labels_are_distinct_words():
    labels = [fault.label for fault in Fault]
    assert len(set(labels)) == len(labels)
    assert all(label.replace("_", "").isalpha() and label.islower() for label in labels)
