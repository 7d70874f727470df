"""Waiting by polling with a deadline. No suite sleeps for a fixed time and hopes."""

import time


class DeadlineExceeded(AssertionError):
    """What was waited for did not happen in time."""


def until(condition, seconds, what, interval=0.01):
    """Returns the first true value of condition(); raises when `seconds` have passed without one."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise DeadlineExceeded(f"{what}: not within {seconds} s")
        time.sleep(interval)
        interval = min(interval * 1.5, 0.2)
