//! The kernel lock, and how a CPU waits for it: with `SCHEDOP_poll` on a masked event channel that whoever hands the lock
//! over raises.

use core::ptr;

use paravane_abi::sched::{SCHEDOP_POLL, SchedPoll};
use pv_guest_logic::ticket::{Park, TicketLock};

use super::ipi::{self, Ipi};
use super::{MAX_CPUS, get, this};
use crate::cpu_ops::hypercall::{check, sched_op};
use crate::event;

static LOCK: TicketLock<MAX_CPUS> = TicketLock::new();

struct Poll;

impl Park for Poll {
    fn prepare(&self, cpu: u32) {
        event::clear(get(cpu).port(Ipi::Kick));
    }

    fn park(&self, cpu: u32) {
        let port = get(cpu).port(Ipi::Kick).0;
        let mut poll = SchedPoll { ports: &raw const port as u64, nr_ports: 1, ..SchedPoll::default() };
        // SAFETY: the argument and the port live until the call returns.
        let result = unsafe { sched_op(SCHEDOP_POLL, ptr::from_mut(&mut poll).cast()) };
        check(result).expect("a CPU may wait for its own port");
    }

    fn kick(&self, cpu: u32) {
        ipi::send(get(cpu), Ipi::Kick);
    }
}

/// Takes the lock for this CPU, which does not hold it.
pub fn acquire() {
    LOCK.lock(this().id(), &Poll);
}

/// Gives up the lock, which this CPU holds.
pub fn release() {
    LOCK.unlock(&Poll);
}

/// How often a CPU stopped spinning for the lock and waited.
pub fn parks() -> u64 {
    LOCK.parks()
}

/// What [`enter`] gives: drops the lock when it took it. The CPU that drops it may be another than the one that took
/// it: a process keeps this value while it waits, and the CPU that resumes the process holds the lock by then.
pub struct Entered(bool);

/// Takes the lock unless this CPU holds it: kernel code that faults does, and a CPU that idles does not.
#[inline]
pub fn enter() -> Entered {
    let nested = LOCK.is_held_by(this().id());
    if !nested {
        acquire();
    }
    Entered(!nested)
}

impl Drop for Entered {
    fn drop(&mut self) {
        if self.0 {
            release();
        }
    }
}

/// Runs something without the lock, which this CPU holds.
pub fn without<T>(f: impl FnOnce() -> T) -> T {
    release();
    let value = f();
    acquire();
    value
}
