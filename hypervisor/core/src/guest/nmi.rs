//! Non-maskable events of one vcpu to another, or to itself (`VCPUOP_send_nmi`). They enter the kernel by its trap 2,
//! whatever the event mask says; after one there is none until the kernel returns by the `iret` hypercall.

use paravane_abi::regs::CpuUserRegs;

use crate::crash::Reason;
use crate::domain::RunState;
use crate::emulate::Fault;
use crate::emulate::vector::NMI;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;

impl<M: Machine> Hypervisor<M> {
    /// Raises an NMI on a vcpu of the running domain, and wakes it. One that is pending already is one with it.
    pub(crate) fn send_nmi(&mut self, number: usize) {
        let domain = self.here.domain;
        let vcpu = &mut self.domains[domain].vcpus[number];
        if core::mem::replace(&mut vcpu.nmi.pending, true) {
            return;
        }
        if vcpu.state == RunState::Blocked {
            self.unblock(domain, number);
        }
        if let Some(cpu) = self.cpu_of(domain, number) {
            self.kick(cpu);
        }
    }

    /// Whether the running vcpu is to be given an NMI.
    pub(super) fn nmi_is_due(&self) -> bool {
        let nmi = self.vcpu().nmi;
        nmi.pending && !nmi.masked
    }

    /// Gives it to the kernel. One without a handler for it loses it, as in Xen.
    pub(super) fn deliver_nmi(&mut self, regs: &mut CpuUserRegs) -> Result<(), Reason> {
        let vcpu = self.vcpu_mut();
        vcpu.nmi.pending = false;
        if vcpu.traps[usize::from(NMI)].address == 0 {
            return Ok(());
        }
        vcpu.nmi.masked = true;
        self.inject(regs, Fault { vector: NMI, error_code: None, address: None })
    }

    /// The kernel has returned by the hypercall: if it was from an NMI, the next may come.
    #[inline]
    pub(super) fn unmask_nmi(&mut self) {
        let nmi = &mut self.vcpu_mut().nmi;
        if nmi.masked {
            nmi.masked = false;
            // The next return looks.
            self.here.attention |= self.vcpu().nmi.pending;
        }
    }
}
