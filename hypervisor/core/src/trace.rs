//! Who ran where, and when: the last turns of all processors, kept when the command line asks for it
//! (`paravane.trace=`) and printed at the end.

use alloc::collections::VecDeque;
use core::fmt;

use crate::addr::DomainId;

/// One turn of a vcpu on a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The processor.
    pub cpu: usize,
    /// The vcpu's domain.
    pub domain: DomainId,
    /// The vcpu.
    pub vcpu: u32,
    /// When it began, in nanoseconds of system time.
    pub start: u64,
    /// When it ended.
    pub end: u64,
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "turn: cpu {} {}v{} {} {}", self.cpu, self.domain, self.vcpu, self.start, self.end)
    }
}

/// The last turns, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    turns: VecDeque<Turn>,
    most: usize,
}

impl Trace {
    /// A trace of at most so many turns; 0 keeps none.
    pub fn new(most: usize) -> Self {
        Self { turns: VecDeque::with_capacity(most), most }
    }

    /// Keeps a turn, and forgets the oldest if it must.
    pub fn push(&mut self, turn: Turn) {
        if self.most == 0 {
            return;
        }
        if self.turns.len() == self.most {
            self.turns.pop_front();
        }
        self.turns.push_back(turn);
    }

    /// What is kept.
    pub fn turns(&self) -> impl Iterator<Item = &Turn> {
        self.turns.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    fn turn(start: u64) -> Turn {
        Turn { cpu: 1, domain: DomainId(2), vcpu: 3, start, end: start + 5 }
    }

    #[test]
    fn the_last_turns_are_kept() {
        let mut trace = Trace::new(3);
        (0..5).for_each(|start| trace.push(turn(start)));
        assert_eq!(trace.turns().map(|turn| turn.start).collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!(turn(7).to_string(), "turn: cpu 1 d2v3 7 12");
        let mut none = Trace::default();
        none.push(turn(1));
        assert_eq!(none.turns().count(), 0);
    }
}
