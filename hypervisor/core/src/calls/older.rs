//! Older forms of calls: sched_op, event_channel_op and physdev_op as they were before interface version 0x30202, nmi_op.

use core::mem::offset_of;
use paravane_abi::callback::{CALLBACKTYPE_NMI, CallbackRegister};
use paravane_abi::errno::Errno;
use paravane_abi::event::{EVTCHNOP_UNMASK, EvtchnOp};
use paravane_abi::hypercall::nmi_op::NmiCommand;
use paravane_abi::hypercall::sched_op::SchedCommand;
use paravane_abi::nmi::XennmiCallback;
use paravane_abi::physdev::PhysdevOp;
use paravane_abi::trap::TrapInfo;

use super::{Answer, Call};
use crate::emulate::vector::NMI;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;

impl<M: Machine> Hypervisor<M> {
    /// `sched_op_compat`: the argument is the reason of a shutdown itself.
    pub(super) fn sched_op_compat(&mut self, call: &mut Call<'_>) -> Answer {
        match SchedCommand::from_number(call.args[0] as u32) {
            Some(SchedCommand::YieldCpu | SchedCommand::Block) => self.newer(call, 0, Self::sched_op),
            Some(SchedCommand::Shutdown) => self.shut_down(call.args[1] as u32),
            _ => Err(Errno::ENOSYS.into()),
        }
    }

    /// `event_channel_op_compat`: number and argument in one struct.
    pub(super) fn event_channel_op_compat(&mut self, call: &mut Call<'_>) -> Answer {
        let pointer = call.args[0];
        let request: EvtchnOp = self.read_guest(pointer)?;
        // What came later has no older form: closing all ports, and FIFO queues.
        if request.cmd > EVTCHNOP_UNMASK {
            return Err(Errno::ENOSYS.into());
        }
        let argument = pointer.wrapping_add(offset_of!(EvtchnOp, u) as u64);
        call.args[0] = request.cmd.into();
        let answer = self.newer(call, argument, Self::event_channel_op);
        call.args[0] = pointer;
        answer
    }

    /// `physdev_op_compat`: number and argument in one struct.
    pub(super) fn physdev_op_compat(&mut self, call: &mut Call<'_>) -> Answer {
        let pointer = call.args[0];
        let request: PhysdevOp = self.read_guest(pointer)?;
        let argument = pointer.wrapping_add(offset_of!(PhysdevOp, u) as u64);
        call.args[0] = request.cmd.into();
        let answer = self.newer(call, argument, Self::physdev_op);
        call.args[0] = pointer;
        answer
    }

    /// The newer form of a call, which gets its number from the first argument and this second one. A call made again is
    /// the older one, so its own arguments stay.
    fn newer(
        &mut self,
        call: &mut Call<'_>,
        argument: u64,
        handler: fn(&mut Self, &mut Call<'_>) -> Answer,
    ) -> Answer {
        let mut args = call.args;
        args[1] = argument;
        handler(self, &mut Call { args, regs: call.regs, nested: call.nested })
    }

    /// `nmi_op`: the older form of `callback_op` for one callback.
    pub(super) fn nmi_op(&mut self, call: &mut Call<'_>) -> Answer {
        match NmiCommand::from_number(call.args[0] as u32).ok_or(Errno::ENOSYS)? {
            NmiCommand::RegisterCallback => {
                let request: XennmiCallback = self.read_guest(call.args[1])?;
                let address = request.handler_address;
                self.register_callback(CallbackRegister { kind: CALLBACKTYPE_NMI, flags: 0, pad: 0, address })
            }
            NmiCommand::UnregisterCallback => {
                self.set_trap(NMI, TrapInfo::default());
                Ok(0)
            }
        }
    }
}
