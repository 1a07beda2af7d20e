//! What happened, line by line.

use std::cell::RefCell;
use std::rc::Rc;

/// The lines of a story. Clones share them, so that what was told before a panic is still there.
#[derive(Clone, Default, Debug)]
pub struct Story(Rc<RefCell<Vec<String>>>);

impl Story {
    pub(super) fn tell(&self, line: String) {
        self.0.borrow_mut().push(line);
    }

    /// Gives out the lines so far.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        self.0.take()
    }
}
