//! The return to a PC: its interrupts, and registers that the real processor can load.

use paravane_abi::regs::CpuUserRegs;

use crate::crash::Reason;
use crate::domain::RunState;
use crate::emulate::Mode;
use crate::full::Entry;
use crate::hypervisor::{Hypervisor, Next};
use crate::machine::Machine;

impl<M: Machine> Hypervisor<M> {
    /// Prepares the return to the running PC; what the processor does next.
    #[cold]
    pub(crate) fn enter_pc(&mut self, regs: &mut CpuUserRegs) -> Next {
        let now = self.now();
        let noticed = self.domain_mut().pc.as_deref_mut().is_some_and(|pc| core::mem::take(&mut pc.noticed));
        let entry = self.on_processor(regs, |processor, platform| {
            if !noticed {
                processor.entered();
            }
            platform.advance(now);
            let entry = processor.resume(|| platform.interrupt_pending().then(|| platform.acknowledge()));
            (entry, processor.cpu.mode)
        });
        self.arm_platform(self.current_domain());
        match entry {
            Some((Entry::Enter, mode)) => {
                self.show_user_code(mode == Mode::User);
                return Next::Guest;
            }
            Some((Entry::Halted, _)) => {
                let (domain, vcpu) = (self.here.domain, self.here.vcpu);
                self.vcpu_mut().state = RunState::Blocked;
                self.refresh(domain, vcpu);
            }
            Some((Entry::Shutdown, _)) | None => self.crash(regs, Reason::TripleFault),
        }
        self.here.attention = true;
        self.prepare_return(regs)
    }
}
