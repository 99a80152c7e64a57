//! Parts of a vcpu on the processor, and the report when it has to go.

use paravane_abi::regs::CpuUserRegs;
use paravane_abi::trap::TrapInfo;

use crate::addr::VirtAddr;
use crate::crash::{Reason, Report};
use crate::descriptor::{Policy, direct_gate};
use crate::domain::Shutdown;
use crate::emulate::Mode;
use crate::hypervisor::Hypervisor;
use crate::machine::{Machine, SegmentBase};

/// Stack words in a crash report.
const STACK_WORDS: usize = 16;

impl<M: Machine> Hypervisor<M> {
    /// Points `syscall` at the running vcpu's callback.
    pub(crate) fn load_syscall_entry(&mut self) {
        let registered = self.vcpu().callbacks.syscall.map(|callback| callback.address);
        // A kernel in ring 3 makes its hypercalls by `syscall` too: all of them come to the hypervisor.
        let registered = registered.filter(|_| self.domain().policy == Policy::Ring1);
        // Address 0 takes the callback away, as in Xen. Nothing enters the kernel in the hypervisor's range:
        // Xen takes such an address too, and the fetch faults; here `syscall` does not exist then.
        let entry = registered.filter(|address| *address != 0 && VirtAddr::is_guest(*address));
        self.machine.set_syscall_entry(entry);
    }

    /// Sets a trap handler of the running vcpu.
    pub(crate) fn set_trap(&mut self, vector: u8, trap: TrapInfo) {
        self.vcpu_mut().traps[usize::from(vector)] = trap;
        self.load_gate(vector);
    }

    /// Installs the direct gates of the running vcpu, and takes away those of the vcpu before it.
    pub(super) fn load_gates(&mut self) {
        use paravane_abi::ring1::{DIRECT_GATE_FIRST, DIRECT_GATE_LAST};
        for vector in DIRECT_GATE_FIRST..=DIRECT_GATE_LAST {
            self.load_gate(vector);
        }
    }

    /// Installs the direct gate of a vector, or takes it away, where vectors can have one.
    fn load_gate(&mut self, vector: u8) {
        use paravane_abi::ring1::{DIRECT_GATE_FIRST, DIRECT_GATE_LAST};
        if (DIRECT_GATE_FIRST..=DIRECT_GATE_LAST).contains(&vector) {
            let mut trap = self.vcpu().traps[usize::from(vector)];
            trap.vector = vector;
            let gate = direct_gate(self.domain().policy, &trap);
            self.machine.set_direct_gate(vector, gate);
        }
    }

    /// Ends the running domain for breaking the contract, and says so.
    #[cold]
    pub(crate) fn crash(&mut self, regs: &CpuUserRegs, reason: Reason) {
        self.report(regs, reason);
        self.stop_domain(self.current_domain(), Shutdown::Crash);
    }

    /// The report of a crash: registers, page walks, code, stack, reason.
    pub(crate) fn report(&self, regs: &CpuUserRegs, reason: Reason) {
        let view = self.view(regs);
        use crate::emulate::VirtualCpu;
        let mut code = [0; crate::emulate::MAX_LENGTH];
        let code = self.fetch(regs, &mut code);
        let mut stack = [0u64; STACK_WORDS];
        let words = self.running_memory(regs).map_or(0, |memory| {
            let place = |index: usize| regs.rsp.wrapping_add(8 * index as u64);
            (0..STACK_WORDS)
                .take_while(|i| memory.read_u64(place(*i)).map(|word| stack[*i] = word).is_ok())
                .count()
        });
        let base = |which| self.machine.segment_base(which);
        let report = Report {
            domain: self.domain().id.0,
            vcpu: self.vcpu().id,
            reason,
            context: match (self.mode(regs), self.domain().policy) {
                (Mode::User, _) => "program, ring 3",
                (Mode::Kernel, Policy::Ring1) => "kernel, ring 1",
                (Mode::Kernel, Policy::Ring3) => "kernel, ring 3",
            },
            regs,
            control: [view.cr0(), view.cr2(), view.cr3(), view.cr4()],
            bases: [base(SegmentBase::Fs), base(SegmentBase::GsUser), base(SegmentBase::GsKernel)],
            code,
            stack: &stack[..words],
            walks: &[],
        };
        log::error!("{report}");
        let Some(root) = self.vcpu().paging.base() else { return };
        for address in [regs.rip, regs.rsp, view.cr2()] {
            let walk = crate::guest_memory::WalkReport::new(&self.frames, &self.machine, root, address);
            log::error!("{walk}");
        }
    }
}
