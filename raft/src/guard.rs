//! raft panics on what cannot be, by design. A panic must cost one group, not the node: the guard catches it, keeps the broken
//! machine from ever being called again, and answers with a typed error from then on.

use crate::ids::GroupId;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A group that panicked, or was found to have lost what it promised to keep.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("group {} is poisoned: {reason}", group.0)]
pub struct Poisoned {
    pub group: GroupId,
    pub reason: Arc<str>,
}

/// A group, or what is built around one.
pub struct Guarded<T> {
    group: GroupId,
    inner: T,
    poisoned: Option<Poisoned>,
}

impl<T> Guarded<T> {
    pub fn new(group: GroupId, inner: T) -> Guarded<T> {
        Guarded { group, inner, poisoned: None }
    }

    /// Runs `call`. A panic inside poisons the group for good.
    pub fn run<R>(&mut self, call: impl FnOnce(&mut T) -> R) -> Result<R, Poisoned> {
        if let Some(poisoned) = &self.poisoned {
            return Err(poisoned.clone());
        }
        // Sound to look at afterwards: nobody calls it again.
        catch_unwind(AssertUnwindSafe(|| call(&mut self.inner))).map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied());
            self.poison(text.unwrap_or("panicked"))
        })
    }

    pub fn poison(&mut self, reason: &str) -> Poisoned {
        tracing::error!(group = self.group.0, reason, "group poisoned");
        let poisoned = Poisoned { group: self.group, reason: reason.into() };
        self.poisoned.get_or_insert(poisoned).clone()
    }

    pub fn poisoned(&self) -> Option<&Poisoned> {
        self.poisoned.as_ref()
    }

    /// To look at, poisoned or not.
    pub fn get(&self) -> &T {
        &self.inner
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_poisons_once_and_for_all() {
        let mut guarded = Guarded::new(GroupId(4), 1);
        assert_eq!(guarded.run(|value| *value + 1), Ok(2));
        let poisoned = guarded.run(|_| panic!("to_commit {} is out of range", 9)).map(|()| 0).unwrap_err();
        assert_eq!(poisoned.to_string(), "group 4 is poisoned: to_commit 9 is out of range");
        assert_eq!(guarded.run(|value| *value), Err(poisoned.clone()));
        assert_eq!(guarded.poison("again"), poisoned);
    }
}
