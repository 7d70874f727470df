//! The journal from outside: one binary, a module for each behaviour.

mod basics;
mod support;
