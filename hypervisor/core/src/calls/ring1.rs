//! ring1_op: Paravane's own call.

use paravane_abi::errno::Errno;
use paravane_abi::ring1::RING1_OP_READ_COUNTERS;

use super::{Answer, Call};
use crate::descriptor::Policy;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;

impl<M: Machine> Hypervisor<M> {
    /// `ring1_op`.
    pub(super) fn ring1_op(&mut self, call: &mut Call<'_>) -> Answer {
        if self.domain().policy != Policy::Ring1 {
            // To a kernel that is on Xen the number is that of machine checks, which are the hardware domain's.
            return Err(Errno::EPERM.into());
        }
        match call.args[0] as u32 {
            RING1_OP_READ_COUNTERS => {
                let mut counters = self.counters;
                // An entry loads the hypervisor's root, its exit the guest's; this call's exit is still to come.
                counters.cr3_loads = counters.total_entries * 2 - 1;
                [counters.tlb_flushes, counters.invlpg] = self.machine.flushes();
                self.write_guest(call.args[1], &counters)?;
                Ok(0)
            }
            _ => Err(Errno::ENOSYS.into()),
        }
    }
}
