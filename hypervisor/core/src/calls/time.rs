//! set_timer_op.

use super::{Answer, Call};
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;

impl<M: Machine> Hypervisor<M> {
    /// `set_timer_op`.
    pub(super) fn set_timer_op(&mut self, call: &mut Call<'_>) -> Answer {
        let now = self.now();
        self.vcpu_mut().timers.set_timer_op(call.args[0], now);
        self.program_timer();
        Ok(0)
    }
}
