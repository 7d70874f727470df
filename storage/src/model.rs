//! Model tests: random operations against a naive version. `SEED=42 cargo test` replays; a failure prints its seed.

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

/// Runs `test` with `cases` inputs of the strategy.
pub(crate) fn check<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value)) {
    let seed = match std::env::var("SEED") {
        Ok(seed) => seed.parse().expect("SEED is a number"),
        Err(_) => {
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64)
        }
    };
    let config = Config { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(seed), ..Config::default() };
    let outcome = TestRunner::new(config).run(&strategy, |input| {
        test(input);
        Ok::<(), TestCaseError>(())
    });
    if let Err(failure) = outcome {
        panic!("SEED={seed} replays this\n{failure}");
    }
}
