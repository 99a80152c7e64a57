//! callback_op and set_callbacks: where events, system calls and failed reloads enter the kernel.

use paravane_abi::callback::{
    CALLBACKF_MASK_EVENTS, CALLBACKOP_REGISTER, CALLBACKOP_UNREGISTER, CALLBACKTYPE_EVENT,
    CALLBACKTYPE_FAILSAFE, CALLBACKTYPE_NMI, CALLBACKTYPE_SYSCALL, CALLBACKTYPE_SYSCALL32,
    CALLBACKTYPE_SYSENTER, CallbackRegister, CallbackUnregister,
};
use paravane_abi::errno::Errno;
use paravane_abi::trap::{TrapFlags, TrapInfo};

use super::{Answer, Call};
use crate::addr::VirtAddr;
use crate::domain::{Callback, Callbacks};
use crate::emulate::vector::NMI;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;

/// The place of a callback type, if the type exists for 64-bit guests.
fn place(callbacks: &mut Callbacks, kind: u16) -> Option<&mut Option<Callback>> {
    Some(match kind {
        CALLBACKTYPE_EVENT => &mut callbacks.event,
        CALLBACKTYPE_FAILSAFE => &mut callbacks.failsafe,
        CALLBACKTYPE_SYSCALL => &mut callbacks.syscall,
        CALLBACKTYPE_SYSCALL32 => &mut callbacks.syscall32,
        CALLBACKTYPE_SYSENTER => &mut callbacks.sysenter,
        _ => return None,
    })
}

impl<M: Machine> Hypervisor<M> {
    /// `callback_op`.
    pub(super) fn callback_op(&mut self, call: &mut Call<'_>) -> Answer {
        match call.args[0] as u32 {
            CALLBACKOP_REGISTER => {
                let request: CallbackRegister = self.read_guest(call.args[1])?;
                self.register_callback(request)
            }
            CALLBACKOP_UNREGISTER => {
                let request: CallbackUnregister = self.read_guest(call.args[1])?;
                // Xen lets a guest give back its NMI callback only.
                match request.kind {
                    CALLBACKTYPE_NMI => self.set_trap(NMI, TrapInfo::default()),
                    CALLBACKTYPE_EVENT
                    | CALLBACKTYPE_FAILSAFE
                    | CALLBACKTYPE_SYSCALL
                    | CALLBACKTYPE_SYSCALL32
                    | CALLBACKTYPE_SYSENTER => return Err(Errno::EINVAL.into()),
                    _ => return Err(Errno::ENOSYS.into()),
                }
                Ok(0)
            }
            _ => Err(Errno::ENOSYS.into()),
        }
    }

    pub(super) fn register_callback(&mut self, request: CallbackRegister) -> Answer {
        if !VirtAddr::is_canonical(request.address) {
            return Err(Errno::EINVAL.into());
        }
        if request.kind == CALLBACKTYPE_NMI {
            self.register_nmi_callback(request.address);
            return Ok(0);
        }
        let callback =
            Callback { address: request.address, mask_events: request.flags & CALLBACKF_MASK_EVENTS != 0 };
        let slot = place(&mut self.vcpu_mut().callbacks, request.kind).ok_or(Errno::ENOSYS)?;
        *slot = Some(callback);
        self.load_syscall_entry();
        Ok(0)
    }

    /// The handler for NMIs is trap 2's, always with events masked; whichever was set last counts. Address 0 is none.
    fn register_nmi_callback(&mut self, address: u64) {
        let cs = self.domain().policy.kernel_code();
        self.set_trap(NMI, TrapInfo::new(NMI, TrapFlags::MASK_EVENTS, cs, address));
    }

    /// `set_callbacks`: the older form, for events, failed reloads and system calls at once.
    pub(super) fn set_callbacks(&mut self, call: &mut Call<'_>) -> Answer {
        let callbacks = &mut self.vcpu_mut().callbacks;
        let slots = [&mut callbacks.event, &mut callbacks.failsafe, &mut callbacks.syscall];
        for (slot, address) in slots.into_iter().zip(call.args) {
            // Xen registers each without flags, ignores an address that is not canonical, and answers 0.
            if VirtAddr::is_canonical(address) {
                *slot = Some(Callback { address, mask_events: false });
            }
        }
        self.load_syscall_entry();
        Ok(0)
    }
}
