"""Makes a walk that ends in a difference short: leaves out what is not needed for it."""


def shrink(ground, steps, difference):
    """Fewer steps that end in a difference of the same kind, and that difference."""
    steps = steps[: difference.position + 1]
    size = len(steps) // 2
    while size:
        start = 0
        while start < len(steps) - 1:
            end = min(start + size, len(steps) - 1)
            shorter = steps[:start] + steps[end:]
            found = ground.walk(shorter)
            if found and found.position == len(shorter) - 1 and found.kind() == difference.kind():
                steps, difference = shorter, found
            else:
                start += size
        size //= 2
    return steps, difference
