//! set_trap_table, stack_switch, iret: how the kernel is entered and left.

use paravane_abi::errno::Errno;
use paravane_abi::trap::TrapInfo;

use super::{Answer, Call, Stop};
use crate::addr::VirtAddr;
use crate::descriptor::fixup;
use crate::domain::TRAPS;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;

/// Entries taken in one bounded step: a list need never end.
const TRAPS_A_STEP: usize = 64;

impl<M: Machine> Hypervisor<M> {
    /// `set_trap_table`. Entries before a refused one stay set, as in Xen.
    pub(super) fn set_trap_table(&mut self, call: &mut Call<'_>) -> Answer {
        if call.args[0] == 0 {
            for vector in 0..TRAPS {
                self.set_trap(vector as u8, TrapInfo::default());
            }
            return Ok(0);
        }
        for _ in 0..TRAPS_A_STEP {
            let mut trap: TrapInfo = self.read_guest(call.args[0])?;
            if trap.address == 0 {
                return Ok(0);
            }
            if !VirtAddr::is_canonical(trap.address) {
                return Err(Errno::EINVAL.into());
            }
            trap.cs = fixup(self.domain().policy, trap.cs);
            self.set_trap(trap.vector, trap);
            call.args[0] = call.args[0].wrapping_add(size_of::<TrapInfo>() as u64);
        }
        Err(Stop::AGAIN)
    }

    /// `stack_switch`: the selector is the policy's whatever the guest says, as for a 64-bit guest on Xen.
    pub(super) fn stack_switch(&mut self, call: &mut Call<'_>) -> Answer {
        let pointer = call.args[1];
        self.vcpu_mut().kernel_sp = pointer;
        self.machine.set_kernel_stack(pointer);
        Ok(0)
    }

    /// `iret`: continues at the frame on the guest's stack.
    pub(super) fn iret(&mut self, call: &mut Call<'_>) -> Answer {
        if let Err(reason) = self.guest_iret(call.regs) {
            self.crash(call.regs, reason);
        }
        Err(Stop::REPLACED)
    }
}
