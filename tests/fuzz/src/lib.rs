//! The fuzz targets' bodies, for libFuzzer. See `bodies`.

pub mod bodies;
