//! What consensus costs a group of one (docs/adr/0003): to propose, note as written, as durable and as applied, for one
//! entry and for many at once. `cargo bench -p headwater-raft --bench group`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use headwater_raft::{Group, GroupConfig, GroupId, GroupState, NodeId, PeerId, Settings, TermLog};

fn leader() -> (Group, u64) {
    let peer = PeerId::new(NodeId(1), 1);
    let config = GroupConfig {
        group: GroupId(2),
        peer,
        settings: Settings::default(),
        state: GroupState::bootstrap(&[peer]),
        log: TermLog::new(0, 0),
        applied: 0,
        seed: 2,
    };
    let mut group = Group::new(config).expect("a new group");
    group.campaign();
    let mut position = 0;
    while group.needs_ready() {
        group.ready();
        position += 1;
        group.written(position);
        group.on_durable(position);
    }
    group.advance_applied(group.last_index());
    assert!(group.is_leader());
    (group, position)
}

fn turn(criterion: &mut Criterion) {
    let mut benches = criterion.benchmark_group("a turn of a group of one");
    for count in [1, 1000] {
        let (mut group, mut position) = leader();
        benches.throughput(Throughput::Elements(count));
        benches.bench_function(format!("with {count} entries"), |bencher| {
            bencher.iter(|| {
                group.propose(count).expect("it leads");
                position += 1;
                group.written(position);
                let committed = group.on_durable(position).expect("entries are committed");
                group.advance_applied(*committed.end());
            });
        });
    }
    benches.finish();
}

criterion_group!(benches, turn);
criterion_main!(benches);
