//! The fuzz targets' bodies, for libFuzzer. See `bodies`.

pub mod bodies;

/// Runs the body of a target, for libFuzzer.
pub fn run(name: &str, data: &[u8]) {
    let target = bodies::TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    (target.body)(data);
}
