//! grant_table_op: lending frames to other domains.
//!
//! A batch is a list in the guest's memory, each element with a status of its own. What is wrong with an element is
//! told there; the call itself fails only when the list cannot be read or written. A batch that is too long for
//! one bounded step goes on with the rest of the list, as on Xen.

mod cache;
mod copy;
mod death;
mod map;
mod table;
mod transfer;

use core::mem::offset_of;

use paravane_abi::errno::Errno;
use paravane_abi::grant::*;
use paravane_abi::hypercall::grant_table_op::GrantCommand;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Answer, Call, Stop};
use crate::addr::{DomainId, PAGE_SHIFT, VirtAddr};
use crate::event::resolve;
use crate::grant::GrantError;
use crate::guest_memory::Access;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;
use crate::pagetable::Budget;

/// Bits of the command; above them Xen keeps how far a cache flush came.
const COMMAND_BITS: u32 = 12;
const COMMAND_MASK: u32 = (1 << COMMAND_BITS) - 1;

/// Steps an element of a list costs besides what it does.
const ELEMENT_STEPS: u32 = 64;

impl<M: Machine> Hypervisor<M> {
    /// `grant_table_op`.
    pub(super) fn grant_table_op(&mut self, call: &mut Call<'_>) -> Answer {
        let [command, pointer, count, ..] = call.args;
        let (command, count) = (command as u32, count as u32);
        if (count as i32) < 0 {
            return Err(Errno::EINVAL.into());
        }
        let (number, progress) = (command & COMMAND_MASK, command & !COMMAND_MASK);
        let known = GrantCommand::from_number(number);
        if progress != 0 && known != Some(GrantCommand::CacheFlush) {
            return Err(Errno::EINVAL.into());
        }
        match known.ok_or(Errno::ENOSYS)? {
            GrantCommand::SetupTable => self.setup_grant_table(pointer, count, call),
            GrantCommand::QuerySize => self.query_grant_table(pointer, count),
            GrantCommand::SetVersion => self.set_grant_version(pointer, call),
            GrantCommand::GetVersion => self.get_grant_version(pointer),
            GrantCommand::GetStatusFrames => self.get_grant_status_frames(pointer, count),
            GrantCommand::SwapGrantRef => {
                let place = offset_of!(GnttabSwapGrantRef, status);
                self.grant_batch(call, place, |this, request: &GnttabSwapGrantRef, _| {
                    this.swap_grants(request.ref_a, request.ref_b)
                })
            }
            GrantCommand::MapGrantRef => self.map_grants(call),
            GrantCommand::UnmapGrantRef => self.unmap_grants::<GnttabUnmapGrantRef>(call),
            GrantCommand::UnmapAndReplace => self.unmap_grants::<GnttabUnmapAndReplace>(call),
            GrantCommand::Copy => {
                let place = offset_of!(GnttabCopy, status);
                self.grant_batch(call, place, |this, request, budget| this.copy_grant(request, budget))
            }
            GrantCommand::Transfer => {
                let place = offset_of!(GnttabTransfer, status);
                self.grant_batch(call, place, |this, request, budget| this.transfer_frame(request, budget))
            }
            GrantCommand::CacheFlush => self.flush_grant_caches(call),
            GrantCommand::DumpTable => Err(Errno::ENOSYS.into()),
        }
    }

    /// The steps this call has: a hypercall's own, or what its multicall has left.
    fn grant_budget(&self, call: &Call<'_>) -> Budget {
        if call.nested { self.step } else { Budget::HYPERCALL }
    }

    /// Does the elements of a list one by one and stores each one's status.
    fn grant_batch<T: FromBytes + IntoBytes>(
        &mut self,
        call: &mut Call<'_>,
        status_at: usize,
        mut perform: impl FnMut(&mut Self, &T, &mut Budget) -> Result<(), GrantError>,
    ) -> Answer {
        check_list(call.args[1])?;
        let mut budget = self.grant_budget(call);
        let mut first = true;
        while call.args[2] as u32 != 0 {
            if !first && budget.spent() {
                self.step = budget;
                return Err(Stop::AGAIN);
            }
            first = false;
            budget.charge(ELEMENT_STEPS);
            let pointer = call.args[1];
            let request: T = self.read_guest(pointer)?;
            let place = pointer.wrapping_add(status_at as u64);
            self.check_writable(place, size_of::<i16>() as u64)?;
            let status = status_of(perform(self, &request, &mut budget));
            self.write_guest(place, &status)?;
            advance::<T>(call);
        }
        self.step = budget;
        Ok(0)
    }

    /// Whether the guest could write so many bytes, at most a page. Asked before anything is done whose result
    /// goes there.
    fn check_writable(&self, address: u64, bytes: u64) -> Result<(), Stop> {
        let memory = self.kernel_memory().ok_or(Errno::EFAULT)?;
        memory.translate(address, Access::Write)?;
        let last = address.wrapping_add(bytes - 1);
        if (address ^ last) >> PAGE_SHIFT != 0 {
            memory.translate(last, Access::Write)?;
        }
        Ok(())
    }

    /// Stores a field.
    fn store_field<T: IntoBytes + Immutable>(&self, request: u64, offset: usize, value: &T) -> Answer {
        self.write_guest(request.wrapping_add(offset as u64), value)?;
        Ok(0)
    }

    /// The domain a request names, itself by `DOMID_SELF` or by number.
    fn any_domain(&self, number: u16) -> Option<usize> {
        self.domain_index(resolve(number, self.domain().id))
    }

    /// As [`Self::any_domain`], when it is the caller: the table of another is none of its business.
    fn own_table(&self, number: u16) -> Result<usize, GrantError> {
        let index = self.any_domain(number).ok_or(GrantError::BadDomain)?;
        if index == self.current_domain() { Ok(index) } else { Err(GrantError::PermissionDenied) }
    }

    /// The domain that lends, by number. One that is being destroyed lends nothing any more.
    fn granter(&self, number: u16) -> Result<usize, GrantError> {
        let index = self.domain_index(DomainId(number)).ok_or(GrantError::BadDomain)?;
        if self.domains[index].grants.dying() { Err(GrantError::BadDomain) } else { Ok(index) }
    }
}

/// A list must begin where a guest may have memory, even an empty one. What is mapped there is seen element by
/// element.
fn check_list(pointer: u64) -> Result<(), Stop> {
    if VirtAddr::is_guest(pointer) { Ok(()) } else { Err(Errno::EFAULT.into()) }
}

/// Takes the first element off the list.
fn advance<T>(call: &mut Call<'_>) {
    call.args[1] = call.args[1].wrapping_add(size_of::<T>() as u64);
    call.args[2] = u64::from(call.args[2] as u32 - 1);
}

const fn status_of(result: Result<(), GrantError>) -> i16 {
    match result {
        Ok(()) => GNTST_OKAY,
        Err(error) => error.status(),
    }
}
