"""Random configurations of streams and consumers: a few fields each, drawn from tables of values worth trying."""

from .world import DAY_NS, EPHEMERAL, SUBJECTS, UNFILTERED

# Values repeat where they should come up more often. No age, no wait and no window ends within a walk.
STREAM = {
    "retention": ["limits", "interest", "workqueue"],
    "discard": ["old", "new"],
    "max_msgs": [-1, 1, 3, 8],
    "max_bytes": [-1, 100, 300, 1000],
    "max_msgs_per_subject": [-1, 1, 2, 3],
    "max_msg_size": [-1, 20, 60],
    "discard_new_per_subject": [True, False],
    "max_consumers": [-1, 1, 2],
    "deny_delete": [True, False, False],
    "deny_purge": [True, False, False],
    "allow_rollup_hdrs": [True, True, False],
    "allow_direct": [True, True, False],
    "allow_msg_ttl": [True, False],
    "allow_atomic": [True, True, False],
    "duplicate_window": [0, DAY_NS],
    "first_seq": [0, 1, 50],
    "compression": ["none", "s2"],
    "metadata": [{"a": "b"}, {}],
    "description": ["text", ""],
    "consumer_limits": [{}, {"max_ack_pending": 2}, {"inactive_threshold": DAY_NS}],
    "subject_transform": [{"src": "s.a", "dest": "s.b"}, {"src": "t.*", "dest": "t.{{wildcard(1)}}"}],
    "republish": [{"src": ">", "dest": "copy.>"}, {"src": "s.a", "dest": "copy.a", "headers_only": True}],
    "storage": ["file", "file", "memory"],
    "sealed": [False, False, False, True],
}
STREAM_CHANGES = [field for field in STREAM if field not in ("first_seq", "storage")]

CONSUMER = {
    "deliver_policy": ["all", "last", "new", "last_per_subject", "by_start_sequence", "by_start_time"],
    "ack_policy": ["explicit", "explicit", "explicit", "explicit", "all", "none"],
    "max_deliver": [-1, 1, 2, 3],
    "max_ack_pending": [-1, 1, 2, 5],
    "max_waiting": [1, 512],
    "max_batch": [0, 1, 2],
    "max_bytes": [0, 100],
    "backoff": [[DAY_NS], [DAY_NS, 2 * DAY_NS], []],
    "headers_only": [True, False],
    "mem_storage": [True, False],
    "sample_freq": ["100", "50%"],
    "description": ["text", ""],
    "metadata": [{"a": "b"}, {}],
    "replay_policy": ["instant"],
    "pause_until": ["2099-01-01T00:00:00Z", "2001-01-01T00:00:00Z"],
}
START = {
    "by_start_sequence": [{"opt_start_seq": seq} for seq in (1, 2, 5, 60)] + [{}],
    "by_start_time": [{"opt_start_time": f"{year}-01-01T00:00:00Z"} for year in (2001, 2098)] + [{}],
}


def stream(world, name):
    config = {"name": name, "subjects": world.random.choice(SUBJECTS[name]), **_some(world, STREAM, 5)}
    if config.get("retention") not in (None, "limits") and world.chance(0.5):
        del config["retention"]
    config.pop("sealed", None)
    if world.durable:
        config.pop("storage", None)
    return _without_interest(world, config)


def stream_changes(world, name):
    changes = _some(world, {field: STREAM[field] for field in STREAM_CHANGES}, 2)
    if world.chance(0.2):
        changes["subjects"] = world.random.choice(SUBJECTS[name])
    if changes.get("sealed") and world.chance(0.7):
        del changes["sealed"]
    return _without_interest(world, changes)


def _without_interest(world, config):
    if world.refilters and config.get("retention") == "interest":
        del config["retention"]
    return config


def consumer(world, stream_name, name):
    config = {"ack_policy": "explicit", **_some(world, CONSUMER, 4), **_identity(name), **_filters(world, stream_name, name)}
    if world.purges and config.get("deliver_policy") == "last_per_subject":
        del config["deliver_policy"]
    config |= world.random.choice(START.get(config.get("deliver_policy"), [{}]))
    if world.durable:
        config.pop("mem_storage", None)
    return config


def consumer_changes(world, stream_name, name):
    changes = _some(world, {field: CONSUMER[field] for field in CONSUMER if field != "mem_storage"}, 2)
    return changes | _identity(name) | (_filters(world, stream_name, name) if world.chance(0.4) else {})


def _identity(name):
    kind = {"name": name, "inactive_threshold": DAY_NS} if name == EPHEMERAL else {"durable_name": name}
    return {**kind, "ack_wait": DAY_NS}


def _filters(world, stream_name, name):
    """Of one that keeps its filter, always the same."""
    if not world.refilters:
        return world.fixed_filters.setdefault((stream_name, name), _some_filters(world, stream_name, name))
    return _some_filters(world, stream_name, name)


def _some_filters(world, stream_name, name):
    if name == UNFILTERED:
        return {}
    if world.chance(0.6):
        return {"filter_subject": world.some_filter(stream_name)}
    return {"filter_subjects": [world.some_filter(stream_name) for _ in range(world.random.randint(1, 2))]}


def _some(world, table, count_max):
    fields = world.random.sample(sorted(table), world.random.randint(0, count_max))
    return {field: world.random.choice(table[field]) for field in fields}
