//! What a SIGBUS is answered with. One of the three places with `unsafe` in this crate.
//!
//! The handler does nothing that is not allowed in one: it reads and writes atomics, and makes one system call without a
//! detour over the C library, which leaves `errno` alone. A page that two threads miss at once gets zeros twice.
//!
//! Zeros cost no memory: all of them are the kernel's one page. Pages side by side become one area of the kernel's list;
//! if that is full, the page can't be made up for, and the process ends as it always did.

use std::ffi::c_void;
use std::io;
use std::mem::{transmute, zeroed};
use std::ptr::{null, null_mut, with_exposed_provenance_mut};
use std::sync::OnceLock;

use libc::{c_int, sigaction, siginfo_t};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

use super::registry::Registry;

/// Every mapping of the process whose pages may get lost.
pub(super) static MAPPINGS: Registry = Registry::new();

/// How things were before the handler was installed.
struct Before {
    action: sigaction,
    page_bytes: usize,
}

/// Set before the handler can run.
static BEFORE: OnceLock<Before> = OnceLock::new();

/// Installs the handler once for the process. There is no way back: somebody may have chained to it.
pub(super) fn install() -> io::Result<()> {
    /// The operating system's error number, 0 if there was none.
    static OUTCOME: OnceLock<i32> = OnceLock::new();
    let outcome =
        *OUTCOME.get_or_init(|| try_install().err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EINVAL)));
    if outcome == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(outcome)) }
}

fn try_install() -> io::Result<()> {
    let check = |result: c_int| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: all zeros is a valid `sigaction`: the default action, no flags, an empty mask.
    let (mut previous, mut ours): (sigaction, sigaction) = unsafe { (zeroed(), zeroed()) };
    // SAFETY: without a new action this only writes the present one to `previous`.
    check(unsafe { sigaction(libc::SIGBUS, null(), &raw mut previous) })?;
    BEFORE.get_or_init(|| Before { action: previous, page_bytes: rustix::param::page_size() });
    ours.sa_sigaction = on_bus_error as *const () as usize;
    // On the alternate stack where a thread has one, as the standard library's own handler, which may be chained to.
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the function has the signature that SA_SIGINFO asks for, lives for ever, and is safe to run in a signal.
    check(unsafe { sigaction(libc::SIGBUS, &raw const ours, null_mut()) })
}

extern "C" fn on_bus_error(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a pointer to a `siginfo_t` that is valid until the handler returns; the
    // address in it means something only where the kernel itself is the sender.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
    // Sent by somebody, or about memory that nobody has touched yet: no access waits for it.
    let is_access = code > 0 && code != libc::BUS_MCEERR_AO;
    if is_access && make_up_for(address) {
        return;
    }
    pass_on(signal, code, info, context);
}

/// Marks the file and puts zeros where its page was, if there is one at the address.
fn make_up_for(address: usize) -> bool {
    let (Some(found), Some(before)) = (MAPPINGS.find(address), BEFORE.get()) else { return false };
    let in_page = address % before.page_bytes;
    // A mapping begins with a page, so its first byte is no further away than the page's.
    let (page, offset) = (address - in_page, found.offset.saturating_sub(in_page));
    // SAFETY: the thread that was interrupted reads from the mapping, so it holds a share of it, and the `Watch` beside
    // the mapping keeps what the slot points to.
    unsafe { &*found.lost }.note(offset as u64);
    // SAFETY: the page lies in a mapping of ours that can't be unmapped meanwhile, for the same reason. Whoever reads it
    // checks the bytes, and looks at the mark before it relies on those it can't check.
    let zeros = unsafe {
        let flags = MapFlags::PRIVATE | MapFlags::FIXED;
        mmap_anonymous(with_exposed_provenance_mut(page), before.page_bytes, ProtFlags::READ, flags)
    };
    zeros.is_ok()
}

/// Does what would have been done without us.
fn pass_on(signal: c_int, code: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let previous = BEFORE.get().map(|before| before.action);
    match previous {
        Some(action) if action.sa_sigaction != libc::SIG_DFL && action.sa_sigaction != libc::SIG_IGN => {
            let handler = action.sa_sigaction;
            if action.sa_flags & libc::SA_SIGINFO != 0 {
                // SAFETY: whoever installed this handler with SA_SIGINFO gave a function of this signature.
                let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = unsafe { transmute(handler) };
                handler(signal, info, context);
            } else {
                // SAFETY: and of this one without.
                let handler: extern "C" fn(c_int) = unsafe { transmute(handler) };
                handler(signal);
            }
        }
        // One that somebody sent can be ignored, a fault can't.
        Some(action) if action.sa_sigaction == libc::SIG_IGN && code <= 0 => {}
        _ => {
            // SAFETY: all zeros is the default action, which ends the process: at once when the access that failed is
            // tried again, and for a signal that was sent as soon as this handler has returned and it is let through.
            unsafe {
                let default: sigaction = zeroed();
                sigaction(signal, &raw const default, null_mut());
                if code <= 0 {
                    libc::raise(signal);
                }
            }
        }
    }
}
