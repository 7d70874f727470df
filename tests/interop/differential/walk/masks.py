"""What a walk does not compare, each with its reason; everything else of a reply counts."""

from ..normalise import Normaliser


class Masked(Normaliser):
    """The normaliser of a walk: takes out of stream and consumer states what is masked."""

    def json(self, value):
        return super().json(masked(value))


def masked(value):
    if isinstance(value, list):
        return [masked(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: MASKS.get(key, masked)(item) for key, item in value.items()}


def stream_state(state):
    hidden = set()
    # A stream that never had a message: after a purge its first sequence is 1 in nats-server, 0 here. A difference of ours.
    if state.get("last_seq") == 0:
        hidden.add("first_seq")
    # And nats-server's file store says of one without a purge that its message 0 is deleted.
    if state.get("deleted") == [0]:
        hidden |= {"deleted", "num_deleted"}
    return {key: item for key, item in state.items() if key not in hidden}


def ack_floor(floor):
    """nats-server takes the time also of an ack for what is not pending, here it is no event. A difference of ours."""
    return {key: item for key, item in floor.items() if key != "last_active" or floor.get("consumer_seq")}


MASKS = {"state": stream_state, "ack_floor": ack_floor}
