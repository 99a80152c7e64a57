//! Exceptions and interrupts, and what becomes of one that cannot be delivered.

use crate::bounce::has_error_code;
use crate::emulate::{Fault, flag, vector};

/// Exception vectors beyond those of [`vector`].
pub(super) const BREAKPOINT: u8 = 3;
pub(super) const OVERFLOW: u8 = 4;
const DIVIDE: u8 = 0;
const DOUBLE: u8 = 8;
const INVALID_TSS: u8 = 10;
const VIRTUALIZATION: u8 = 20;
const CONTROL_PROTECTION: u8 = 21;

/// Where an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An exception that leaves RIP at the instruction, or #DB or #MC.
    Exception,
    /// An interrupt from a device.
    Interrupt,
    /// A non-maskable interrupt.
    Nmi,
    /// `int n`, `int3` or `into`, with RIP behind it.
    Software {
        /// RIP behind the instruction.
        next: u64,
    },
    /// `int1`, with RIP behind it: no privilege check, and external to the program in error codes (SDM volume 3, 6.13).
    Icebp {
        /// RIP behind the instruction.
        next: u64,
    },
}

/// Something to be delivered through the guest's IDT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The vector.
    pub vector: u8,
    /// Where it comes from.
    pub kind: Kind,
    /// The error code, for exceptions that have one.
    pub error_code: Option<u32>,
    /// What a #PF leaves in CR2.
    pub address: Option<u64>,
}

impl Event {
    /// An exception that a processor raises by itself.
    pub const fn exception(fault: Fault) -> Event {
        Event {
            vector: fault.vector,
            kind: Kind::Exception,
            error_code: fault.error_code,
            address: fault.address,
        }
    }

    /// An exception as the real processor reported it: the error code counts for the vectors that have one.
    pub const fn reported(vector: u8, error_code: u32) -> Event {
        let error_code = if has_error_code(vector) { Some(error_code) } else { None };
        Event { vector, kind: Kind::Exception, error_code, address: None }
    }

    /// A page fault of the guest's.
    pub const fn page_fault(address: u64, error_code: u32) -> Event {
        Event::exception(Fault::page(address, error_code))
    }

    /// A maskable interrupt.
    pub const fn interrupt(vector: u8) -> Event {
        Event { vector, kind: Kind::Interrupt, error_code: None, address: None }
    }

    /// A non-maskable interrupt.
    pub const NMI: Event = Event { vector: vector::NMI, kind: Kind::Nmi, error_code: None, address: None };

    /// `int n`, with RIP behind it.
    pub const fn software(vector: u8, next: u64) -> Event {
        Event { vector, kind: Kind::Software { next }, error_code: None, address: None }
    }

    /// The EXT bit of error codes of faults during its delivery (SDM volume 3, 6.13).
    pub(super) const fn external(&self) -> u32 {
        match self.kind {
            Kind::Software { .. } => 0,
            _ => 1,
        }
    }

    /// RIP in the frame.
    pub(super) const fn return_address(&self, rip: u64) -> u64 {
        match self.kind {
            Kind::Software { next } | Kind::Icebp { next } => next,
            _ => rip,
        }
    }

    /// RF in the frame, given RF as it was: set by faults, so that the instruction's breakpoint is not hit again; clear
    /// behind a completed instruction; unchanged else (SDM volume 3, 17.3.1.1).
    pub(super) const fn resume_flag(&self, was: u64) -> u64 {
        match self.kind {
            Kind::Exception if self.vector == vector::DEBUG => was & flag::RF,
            Kind::Exception => flag::RF,
            Kind::Interrupt | Kind::Nmi => was & flag::RF,
            Kind::Software { .. } | Kind::Icebp { .. } => 0,
        }
    }

    /// What is raised instead, if delivering this event raised `second`; `None` is a triple fault (SDM volume 3,
    /// table 6-5).
    pub(super) fn or_instead(&self, second: Fault) -> Option<Event> {
        let first = match self.kind {
            Kind::Exception => class(self.vector),
            _ => Class::Benign,
        };
        match (first, class(second.vector)) {
            (Class::Double, _) => None,
            (Class::Contributory, Class::Contributory)
            | (Class::PageFault, Class::Contributory | Class::PageFault) => {
                Some(Event { vector: DOUBLE, kind: Kind::Exception, error_code: Some(0), address: None })
            }
            _ => Some(Event::exception(second)),
        }
    }
}

/// Exceptions by what happens when two meet (SDM volume 3, table 6-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Benign,
    Contributory,
    PageFault,
    Double,
}

const fn class(vector: u8) -> Class {
    match vector {
        DIVIDE
        | INVALID_TSS
        | vector::NOT_PRESENT
        | vector::STACK
        | vector::PROTECTION
        | CONTROL_PROTECTION => Class::Contributory,
        vector::PAGE_FAULT | VIRTUALIZATION => Class::PageFault,
        DOUBLE => Class::Double,
        _ => Class::Benign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(vector: u8) -> Fault {
        Fault { vector, error_code: Some(0), address: None }
    }

    fn then(first: u8, second: u8) -> Option<u8> {
        Event::exception(plain(first)).or_instead(plain(second)).map(|event| event.vector)
    }

    /// SDM volume 3, table 6-5, row by row.
    #[test]
    fn two_exceptions_meet() {
        for contributory in [0, 10, 11, 12, 13, 21] {
            assert_eq!(then(3, contributory), Some(contributory), "benign first");
            assert_eq!(then(13, contributory), Some(8), "contributory first");
            assert_eq!(then(14, contributory), Some(8), "a page fault first");
            assert_eq!(then(8, contributory), None, "a double fault first");
        }
        assert_eq!(then(3, 14), Some(14));
        assert_eq!(then(13, 14), Some(14), "handled one after the other");
        assert_eq!(then(14, 14), Some(8));
        assert_eq!(then(8, 14), None);
        assert_eq!(then(14, 1), Some(1));
    }

    /// The class is the exception's, not the number's: `int 13` is no #GP.
    #[test]
    fn interrupts_are_benign_whatever_their_number() {
        for first in [Event::interrupt(13), Event::software(14, 0), Event::NMI] {
            assert_eq!(first.or_instead(plain(13)).map(|event| event.vector), Some(13));
        }
    }
}
