"""Real processes, real files: kill -9, full disks, flipped bits. What was acknowledged must be there."""
