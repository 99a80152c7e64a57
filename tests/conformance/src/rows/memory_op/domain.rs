//! What operations that name a domain have in common.

use paravane_abi::errno::Errno;
use paravane_abi::memory::MemoryDomain;
use paravane_abi::mmu::DOMID_SELF;

use super::frames::continued;
use crate::case::Verdict;
use crate::pair;
use crate::rows::refusals::{self, NO_DOMAIN};
use crate::trial::Trial;

/// Requests that cannot be read.
pub fn pointers(t: &mut Trial, command: u32) -> Verdict {
    refusals::pointers(t, continued(command, 0))
}

/// Domains that there are not, those among them that have names of their own.
pub fn no_domain(t: &mut Trial, command: u32) -> Verdict {
    for (name, domid) in
        [("nobody", NO_DOMAIN), ("io", 0x7ff1), ("hypervisor", 0x7ff2), ("largest", u16::MAX)]
    {
        refusals::request(t, name, Errno::ESRCH, MemoryDomain { domid }, continued(command, 0))?;
    }
    Ok(())
}

/// The other domain of a pair.
pub fn other_domain(t: &mut Trial, command: u32) -> Verdict {
    let request = MemoryDomain { domid: pair::peer() };
    refusals::request(t, "other", Errno::EPERM, request, continued(command, 0))?;
    pair::meet(t.side())
}

/// Commands that say that something was done, before the request is looked at.
pub fn started(t: &mut Trial, command: u32) -> Verdict {
    refusals::whatever(t, Errno::EINVAL, continued(command, 1))?;
    let request = MemoryDomain { domid: DOMID_SELF };
    refusals::request(t, "many", Errno::EINVAL, request, continued(command, 0x5a5a))
}
