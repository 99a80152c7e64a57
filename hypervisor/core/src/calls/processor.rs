//! fpu_taskswitch, the debug registers, segment bases, vm_assist: the processor as a guest may shape it.

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::set_segment_base::SegmentBase as Which;
use paravane_abi::hypercall::vm_assist::VmAssistCommand;
use paravane_abi::vm_assist::*;

use super::{Answer, Call};
use crate::addr::VirtAddr;
use crate::hypervisor::Hypervisor;
use crate::machine::{Machine, SegmentBase};

impl<M: Machine> Hypervisor<M> {
    /// `fpu_taskswitch`.
    pub(super) fn fpu_taskswitch(&mut self, call: &mut Call<'_>) -> Answer {
        self.set_task_switched(call.args[0] as u32 != 0);
        Ok(0)
    }

    /// Sets CR0.TS for the running vcpu.
    pub(crate) fn set_task_switched(&mut self, set: bool) {
        self.vcpu_mut().task_switched = set;
        self.machine.set_task_switched(set);
    }

    /// `set_debugreg`.
    pub(super) fn set_debugreg(&mut self, call: &mut Call<'_>) -> Answer {
        let vcpu = self.vcpu();
        let debug = vcpu.debug.with(call.args[0] as u32, call.args[1], vcpu.cr4)?;
        self.load_debug_registers(debug);
        Ok(0)
    }

    /// `get_debugreg`.
    pub(super) fn get_debugreg(&mut self, call: &mut Call<'_>) -> Answer {
        Ok(self.vcpu().debug.get(call.args[0] as u32, self.vcpu().cr4)?)
    }

    /// `set_segment_base`.
    pub(super) fn set_segment_base(&mut self, call: &mut Call<'_>) -> Answer {
        let (which, base) = (call.args[0] as u32, call.args[1]);
        let base_of = match Which::from_number(which).ok_or(Errno::EINVAL)? {
            Which::Fs => SegmentBase::Fs,
            Which::GsUser => SegmentBase::GsUser,
            Which::GsKernel => SegmentBase::GsKernel,
            Which::GsUserSel => {
                let selector = self.loadable_data_selector(base as u16).unwrap_or(0);
                // Ring 3's code segments, which GS can name, are marked not present while an event waits
                // (invariant 8): loading one would fault in ring 0. The return decides anew.
                self.show_user_code(true);
                self.machine.load_user_gs(selector);
                return Ok(0);
            }
        };
        if !VirtAddr::is_canonical(base) {
            return Err(Errno::EINVAL.into());
        }
        self.machine.set_segment_base(base_of, base);
        Ok(0)
    }

    /// `vm_assist`. The bits are kept; those whose behaviour is always on need no more.
    pub(super) fn vm_assist(&mut self, call: &mut Call<'_>) -> Answer {
        let kind = call.args[1] as u32;
        if kind >= u64::BITS {
            return Err(Errno::EINVAL.into());
        }
        let bit = 1u64 << kind;
        // Xen's own set for 64-bit PV domains (NATIVE_VM_ASSIST_VALID).
        const VALID: u64 = 1 << VMASST_TYPE_4GB_SEGMENTS
            | 1 << VMASST_TYPE_4GB_SEGMENTS_NOTIFY
            | 1 << VMASST_TYPE_WRITABLE_PAGETABLES
            | 1 << VMASST_TYPE_PAE_EXTENDED_CR3
            | 1 << VMASST_TYPE_ARCHITECTURAL_IOPL
            | 1 << VMASST_TYPE_RUNSTATE_UPDATE_FLAG
            | 1 << VMASST_TYPE_M2P_STRICT;
        if bit & VALID == 0 {
            return Err(Errno::EINVAL.into());
        }
        match VmAssistCommand::from_number(call.args[0] as u32).ok_or(Errno::ENOSYS)? {
            VmAssistCommand::Enable => {
                self.domain_mut().vm_assist |= bit;
                Ok(0)
            }
            VmAssistCommand::Disable => {
                self.domain_mut().vm_assist &= !bit;
                Ok(0)
            }
        }
    }
}
