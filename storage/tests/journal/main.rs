//! The journal from outside: one binary, a module for each behaviour.

mod basics;
mod cursors;
mod damage;
mod faults;
mod model;
mod repair;
mod space;
mod speed;
mod support;
