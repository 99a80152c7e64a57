//! Writing back caches. x86 keeps them coherent, and no domain has a device that does not look into them, so
//! what is left is who may ask.

use paravane_abi::errno::Errno;
use paravane_abi::grant::*;

use super::{Answer, COMMAND_MASK, Call, ELEMENT_STEPS, Stop, advance, check_list};
use crate::addr::{Mfn, PAGE_SIZE};
use crate::frame::Owner;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;

/// Entries looked at in one go: what the command's upper bits count in.
const ENTRIES_A_STEP: u32 = COMMAND_MASK + 1;

/// How one flush ended.
enum Flushed {
    Done,
    /// The frame is another's, and entries from here on are still to be looked at.
    Searching(u32),
}

impl<M: Machine> Hypervisor<M> {
    /// `GNTTABOP_cache_flush`. How far the search for the grant came stands above the command.
    pub(super) fn flush_grant_caches(&mut self, call: &mut Call<'_>) -> Answer {
        check_list(call.args[1])?;
        let mut budget = self.grant_budget(call);
        let mut first = true;
        while call.args[2] as u32 != 0 {
            if !first && budget.spent() {
                self.step = budget;
                return Err(Stop::AGAIN);
            }
            first = false;
            let command = call.args[0] as u32;
            budget.charge(ELEMENT_STEPS);
            let request: GnttabCacheFlush = self.read_guest(call.args[1])?;
            match self.flush_cache(&request, command & !COMMAND_MASK)? {
                Flushed::Done => {
                    call.args[0] = (command & COMMAND_MASK).into();
                    advance::<GnttabCacheFlush>(call);
                }
                Flushed::Searching(next) => {
                    budget.charge(ENTRIES_A_STEP);
                    call.args[0] = (command & COMMAND_MASK | next).into();
                }
            }
        }
        self.step = budget;
        Ok(0)
    }

    fn flush_cache(&self, request: &GnttabCacheFlush, from: u32) -> Result<Flushed, Errno> {
        let (offset, length) = (usize::from(request.offset), usize::from(request.length));
        let known = GNTTAB_CACHE_INVAL | GNTTAB_CACHE_CLEAN;
        if offset >= PAGE_SIZE || offset + length > PAGE_SIZE || request.op & !known != 0 {
            return Err(Errno::EINVAL);
        }
        if length == 0 || request.op == 0 {
            return if from == 0 { Ok(Flushed::Done) } else { Err(Errno::EILSEQ) };
        }
        let frame = Mfn::containing(request.a);
        let owner = match self.frames.info(frame).map(|info| info.owner()) {
            None | Some(Owner::NotRam) => return Err(Errno::EINVAL),
            Some(Owner::Free | Owner::Hypervisor) => return Err(Errno::EPERM),
            Some(Owner::Domain(owner)) => owner,
        };
        if owner != self.domain().id {
            let index = self.domain_index(owner).ok_or(Errno::EPERM)?;
            let lender = &self.domains[index].grants;
            let end = from.saturating_add(ENTRIES_A_STEP).min(lender.entries());
            let lent = (from..end).any(|reference| {
                let active = lender.in_use(&self.machine, reference);
                active.is_some_and(|active| active.grantee == self.domain().id && active.frame == frame)
            });
            if !lent {
                return if end < lender.entries() { Ok(Flushed::Searching(end)) } else { Err(Errno::EINVAL) };
            }
        }
        // Throwing dirty lines away would show what was there before.
        if request.op == GNTTAB_CACHE_INVAL { Err(Errno::EOPNOTSUPP) } else { Ok(Flushed::Done) }
    }
}
