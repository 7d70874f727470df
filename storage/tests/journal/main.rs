//! The journal from outside: one binary, a module for each behaviour.

mod basics;
mod cursors;
mod model;
mod support;
