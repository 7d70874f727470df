//! Limits while a log is replayed of which entries are lost. One of them may have raised a limit, or created the consumer
//! that a message waits for: so nothing leaves because of a limit or for want of interest before the end of the log is
//! reached and the latest configuration known. What leaves by an entry of its own (delete, purge, acknowledgement, a time
//! to live) does so as ever.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::super::api::StreamConfig;
use super::effects::Effects;
use super::links::SubjectLinks;
use super::machine::StreamMachine;
use super::source::MessageSource;

impl StreamMachine {
    /// From here on entries may be missing.
    pub fn suspend_limits(&mut self) {
        self.limits_suspended = true;
        self.rules.suspend_limits();
        self.links = SubjectLinks::new(self.rules.per_subject_max, self.content.last + 1);
    }

    /// The log is at its end. `config` takes the place of a configuration whose successor was lost.
    ///
    /// Messages that only interest had kept stay: whose interest is lost nobody knows.
    pub fn resume_limits<S: MessageSource>(
        &mut self,
        config: Option<Arc<StreamConfig>>,
        source: &S,
        effects: &mut Effects,
    ) {
        effects.clear();
        self.limits_suspended = false;
        let config = config.unwrap_or_else(|| self.config.clone());
        let window = u64::try_from(config.duplicate_window).unwrap_or(0);
        self.dedupe.set_window(window, self.clock);
        self.set_config(config);
        self.links = SubjectLinks::new(self.rules.per_subject_max, self.content.last + 1);
        self.expiry.age_changed(None, self.rules.age_max, self.content.first);
        if let Some(max) = self.rules.per_subject_max {
            self.trim_subjects_in_one_pass(max, source, effects);
        }
        self.enforce_limits(source, effects);
        self.expire(self.clock, 0, source, effects);
    }

    /// Far more may have gathered in each subject than by normal work: so every message is looked at once, oldest first.
    fn trim_subjects_in_one_pass<S: MessageSource>(&mut self, max: u64, source: &S, effects: &mut Effects) {
        let mut excess: HashMap<Vec<u8>, u64> = HashMap::new();
        self.subjects.for_each(|subject, state| {
            if state.messages > max {
                excess.insert(subject.to_vec(), state.messages - max);
            }
            ControlFlow::Continue(())
        });
        let mut next = self.content.next_stored(self.content.first);
        source.in_order(|| {
            while let Some(sequence) = next.filter(|_| !excess.is_empty()) {
                let is_excess = source.inspect(sequence, |message| {
                    let Some(left) = excess.get_mut(message.subject) else { return false };
                    *left -= 1;
                    if *left == 0 {
                        excess.remove(message.subject);
                    }
                    true
                });
                // A message that can not be read belongs to no subject.
                if is_excess == Ok(true) {
                    self.remove(sequence, source, effects);
                }
                next = self.content.next_stored(sequence + 1);
            }
        });
    }
}
