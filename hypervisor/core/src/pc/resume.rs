//! The return to a PC: its interrupts, and registers that the real processor can load.

use paravane_abi::regs::CpuUserRegs;

use crate::crash::Reason;
use crate::domain::RunState;
use crate::emulate::{Mode, flag};
use crate::full::Entry;
use crate::hypervisor::{Hypervisor, Next};
use crate::machine::Machine;

impl<M: Machine> Hypervisor<M> {
    /// Prepares the return to the running PC; what the processor does next.
    #[cold]
    pub(crate) fn enter_pc(&mut self, regs: &mut CpuUserRegs) -> Next {
        let now = self.now();
        let noticed = self.domain_mut().pc.as_deref_mut().is_some_and(|pc| core::mem::take(&mut pc.noticed));
        if !noticed {
            self.end_step(regs);
        }
        let entry = self.on_processor(regs, |processor, platform| {
            if !noticed {
                processor.entered();
            }
            platform.advance(now);
            let entry = processor.resume(|| platform.interrupt_pending().then(|| platform.acknowledge()));
            // Nobody says when the instruction behind `sti` has run, and the next may well be `cli`.
            let waits = processor.cpu.interrupts
                && processor.cpu.shadow.is_some()
                && platform.interrupt_pending()
                && processor.regs.rflags & flag::TF == 0;
            if waits && entry == Entry::Enter {
                processor.regs.rflags |= flag::TF;
            }
            (entry, processor.cpu.mode, waits)
        });
        self.arm_platform(self.current_domain());
        match entry {
            Some((Entry::Enter, mode, stepping)) => {
                if let Some(pc) = self.domain_mut().pc.as_deref_mut() {
                    pc.stepping = stepping;
                }
                self.show_user_code(mode == Mode::User);
                return Next::Guest;
            }
            Some((Entry::Halted, ..)) => {
                let (domain, vcpu) = (self.here.domain, self.here.vcpu);
                self.vcpu_mut().state = RunState::Blocked;
                self.refresh(domain, vcpu);
            }
            Some((Entry::Shutdown, ..)) | None => self.crash(regs, Reason::TripleFault),
        }
        self.here.attention = true;
        self.prepare_return(regs)
    }
}
