"""`wait.until` for conditions that are awaited."""

import asyncio
import time

from .wait import DeadlineExceeded


async def until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not (value := await condition()):
        if time.monotonic() >= deadline:
            raise DeadlineExceeded(f"{what}: not within {seconds} s")
        await asyncio.sleep(0.02)
    return value
