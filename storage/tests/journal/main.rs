//! The journal from outside: one binary, a module for each behaviour.

mod ahead;
mod basics;
mod cursors;
mod damage;
mod faults;
mod feeding;
#[cfg(target_os = "linux")]
mod losses;
mod lost_pages;
mod model;
mod refusals;
mod repair;
mod reserve;
mod space;
mod speed;
mod strangers;
mod support;
