//! The LDT of a vcpu whose kernel runs in ring 3. The CPU reads its descriptors through a window in the entry area; a
//! page of it is held, and mapped there, when the CPU first reads a descriptor in it.

use paravane_abi::regs::CpuUserRegs;

use crate::addr::{ENTRIES, VirtAddr};
use crate::crash::Reason;
use crate::descriptor::{self, LDT_WINDOW, USER_CS64};
use crate::emulate::Fault;
use crate::emulate::vector::PROTECTION;
use crate::guest_memory::Fault as Code;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;
use crate::pagetable::Budget;

/// Of a selector, and of an error code that names one: the LDT is meant.
const TABLE: u16 = 1 << 2;

impl<M: Machine> Hypervisor<M> {
    /// The offset, in bytes, in the running vcpu's LDT at which the CPU read a descriptor and faulted; `None` for any
    /// other page fault. Such a read is the CPU's own, not the program's that loads the selector: an access of a
    /// program to the window has the user bit.
    #[inline]
    pub(super) fn ldt_offset(&self, error_code: u32, address: u64) -> Option<u64> {
        let offset = address.wrapping_sub(LDT_WINDOW);
        let by_cpu = error_code & (Code::PRESENT | Code::WRITE | Code::USER | Code::FETCH) == 0;
        (by_cpu && self.vcpu().paging.ldt().covers(offset)).then_some(offset)
    }

    /// The CPU found no page there: it finds one when the instruction is executed again, or the guest gets the fault
    /// that it would have got without a window.
    pub(super) fn ldt_fault(&mut self, regs: &mut CpuUserRegs, offset: u64) -> Result<(), Reason> {
        if self.hold_ldt_page(offset) {
            return Ok(());
        }
        let address = self.vcpu().paging.ldt().base().wrapping_add(offset);
        let fault = if VirtAddr::is_canonical(address) {
            Fault::page(address, regs.error_code)
        } else {
            let selector = u32::from(offset as u16 & !3 | TABLE);
            Fault { vector: PROTECTION, error_code: Some(selector), address: None }
        };
        self.inject(regs, fault)
    }

    fn hold_ldt_page(&mut self, offset: u64) -> bool {
        let policy = self.domain().policy;
        self.paging(Budget::HYPERCALL).hold_ldt_page(offset, |raw| descriptor::check(policy, raw).ok())
    }

    /// Makes the descriptor that a selector names one that can be read, if it is one of the LDT's and can be had.
    pub(crate) fn reach_descriptor(&mut self, selector: u16) {
        if selector & TABLE != 0 {
            self.hold_ldt_page(u64::from(selector & !7));
        }
    }

    /// The same for the segments of the code that runs, where they matter to it.
    pub(super) fn reach_segments(&mut self, regs: &CpuUserRegs) {
        if regs.cs != USER_CS64 {
            self.reach_descriptor(regs.cs);
            self.machine.data_selectors().into_iter().for_each(|selector| self.reach_descriptor(selector));
        }
    }

    /// A descriptor of the LDT, if its page is held.
    pub(super) fn ldt_descriptor(&self, selector: u16) -> Option<u64> {
        let ldt = self.vcpu().paging.ldt();
        let index = usize::from(selector >> 3);
        let frame = ldt.pages()[index / ENTRIES].filter(|_| ldt.covers(u64::from(selector & !7)))?;
        Some(self.machine.read_word(frame, index % ENTRIES))
    }
}
