//! Vcpus: `vcpu_op` (`xen/vcpu.h`) and a vcpu's architectural state (`xen/arch-x86/xen.h`).

use crate::macros::{xen_constants, xen_structs, zeroed_default};
use crate::regs::CpuUserRegs;
use crate::trap::{TrapInfo, VECTORS};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use crate::hypercall::set_segment_base::*;
pub use crate::hypercall::vcpu_op::*;

xen_constants! {
    /// In [`VcpuRunstateInfo::state`]: on a CPU.
    pub const RUNSTATE_RUNNING: u32 = 0 => RUNSTATE_running;
    /// In [`VcpuRunstateInfo::state`]: waiting for a CPU.
    pub const RUNSTATE_RUNNABLE: u32 = 1 => RUNSTATE_runnable;
    /// In [`VcpuRunstateInfo::state`]: idle.
    pub const RUNSTATE_BLOCKED: u32 = 2 => RUNSTATE_blocked;
    /// In [`VcpuRunstateInfo::state`]: neither idle nor able to run.
    pub const RUNSTATE_OFFLINE: u32 = 3 => RUNSTATE_offline;
    /// In [`VcpuRunstateInfo::state_entry_time`]: being updated (`VMASST_TYPE_runstate_update_flag`).
    pub const XEN_RUNSTATE_UPDATE: u64 = 1 << 63;
    /// In [`VcpuSetSingleshotTimer::flags`]: `ETIME` for a time that has passed.
    pub const VCPU_SSHOTTMR_FUTURE: u32 = 1 << 0 => VCPU_SSHOTTMR_future;
    /// In [`VcpuGuestContext::flags`]: FPU state is valid.
    pub const VGCF_I387_VALID: u64 = 1 << 0;
    /// In [`VcpuGuestContext::flags`]: in guest kernel mode.
    pub const VGCF_IN_KERNEL: u64 = 1 << 2;
    /// In [`VcpuGuestContext::flags`]: the failsafe callback masks events.
    pub const VGCF_FAILSAFE_DISABLES_EVENTS: u64 = 1 << 3 => VGCF_failsafe_disables_events;
    /// In [`VcpuGuestContext::flags`]: the syscall callback masks events.
    pub const VGCF_SYSCALL_DISABLES_EVENTS: u64 = 1 << 4 => VGCF_syscall_disables_events;
    /// In [`VcpuGuestContext::flags`]: up.
    pub const VGCF_ONLINE: u64 = 1 << 5 => VGCF_online;
}

/// Bytes of FPU state, in FXSAVE's format.
pub const FPU_CONTEXT_SIZE: usize = 512;

/// A vcpu's whole state, argument of [`VCPUOP_INITIALISE`]: 5168 bytes, Xen's `struct vcpu_guest_context`.
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct VcpuGuestContext {
    /// FPU registers, as FXSAVE stores them.
    pub fpu_ctxt: [u8; FPU_CONTEXT_SIZE],
    /// `VGCF_*`.
    pub flags: u64,
    /// General registers.
    pub user_regs: CpuUserRegs,
    /// Trap table; the index is the vector, whatever the entry's own says.
    pub trap_ctxt: [TrapInfo; VECTORS],
    /// LDT: linear address.
    pub ldt_base: u64,
    /// LDT: number of entries.
    pub ldt_ents: u64,
    /// GDT: mfns, of which 14 can be a guest's own.
    pub gdt_frames: [u64; 16],
    /// GDT: number of entries.
    pub gdt_ents: u64,
    /// Kernel stack: selector.
    pub kernel_ss: u64,
    /// Kernel stack: pointer.
    pub kernel_sp: u64,
    /// CR0 to CR7; CR3 is the kernel's L4 and index 1 the user's, as `mfn << 12`.
    pub ctrlreg: [u64; 8],
    /// DR0 to DR7.
    pub debugreg: [u64; 8],
    /// Event callback.
    pub event_callback_eip: u64,
    /// Failsafe callback.
    pub failsafe_callback_eip: u64,
    /// Syscall callback.
    pub syscall_callback_eip: u64,
    /// Bits numbered by `VMASST_TYPE_*`.
    pub vm_assist: u64,
    /// FS base.
    pub fs_base: u64,
    /// GS base of kernel mode.
    pub gs_base_kernel: u64,
    /// GS base of user mode.
    pub gs_base_user: u64,
}

zeroed_default!(VcpuGuestContext);

/// A CR3 value's mfn (`xen_cr3_to_pfn`).
pub const fn cr3_to_mfn(cr3: u64) -> u64 {
    cr3 >> 12
}

/// The CR3 value of an mfn (`xen_pfn_to_cr3`).
pub const fn mfn_to_cr3(mfn: u64) -> u64 {
    mfn << 12
}

/// A vcpu's state and times: 48 bytes, Xen's `struct vcpu_runstate_info`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct VcpuRunstateInfo {
    /// `RUNSTATE_*`.
    pub state: u32,
    /// Padding.
    pub pad: u32,
    /// System time in nanoseconds at which it entered the state, and [`XEN_RUNSTATE_UPDATE`].
    pub state_entry_time: u64,
    /// Nanoseconds spent in each state; they add up to the vcpu's age.
    pub time: [u64; 4],
}

/// Argument of [`VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA`]: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct VcpuRegisterRunstateMemoryArea {
    /// Virtual address of a [`VcpuRunstateInfo`].
    pub addr: u64,
}

/// Argument of [`VCPUOP_SET_PERIODIC_TIMER`]: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct VcpuSetPeriodicTimer {
    /// Period in nanoseconds, at least a millisecond.
    pub period_ns: u64,
}

/// Argument of [`VCPUOP_SET_SINGLESHOT_TIMER`]: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct VcpuSetSingleshotTimer {
    /// System time in nanoseconds.
    pub timeout_abs_ns: u64,
    /// [`VCPU_SSHOTTMR_FUTURE`] or 0.
    pub flags: u32,
    /// Padding.
    pub pad: u32,
}

/// Argument of [`VCPUOP_REGISTER_VCPU_INFO`]: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct VcpuRegisterVcpuInfo {
    /// mfn of the page.
    pub mfn: u64,
    /// Offset in it, in bytes; the 64 bytes must not cross its end.
    pub offset: u32,
    /// Unused.
    pub rsvd: u32,
}

/// Argument of [`VCPUOP_GET_PHYSID`]: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct VcpuGetPhysid {
    /// Out: APIC number in the low half, ACPI's in the high half.
    pub phys_id: u64,
}

/// Argument of [`VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA`]: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct VcpuRegisterTimeMemoryArea {
    /// Virtual address of a [`VcpuTimeInfo`](crate::shared_info::VcpuTimeInfo).
    pub addr: u64,
}

xen_structs! {
    "struct vcpu_guest_context" = VcpuGuestContext {
        fpu_ctxt, flags, user_regs, trap_ctxt, ldt_base, ldt_ents, gdt_frames, gdt_ents, kernel_ss, kernel_sp, ctrlreg,
        debugreg, event_callback_eip, failsafe_callback_eip, syscall_callback_eip, vm_assist, fs_base, gs_base_kernel,
        gs_base_user,
    }
    "struct vcpu_runstate_info" = VcpuRunstateInfo { state, state_entry_time, time } pad { pad }
    "struct vcpu_register_runstate_memory_area" = VcpuRegisterRunstateMemoryArea { addr }
    "struct vcpu_set_periodic_timer" = VcpuSetPeriodicTimer { period_ns }
    "struct vcpu_set_singleshot_timer" = VcpuSetSingleshotTimer { timeout_abs_ns, flags } pad { pad }
    "struct vcpu_register_vcpu_info" = VcpuRegisterVcpuInfo { mfn, offset, rsvd }
    "struct vcpu_get_physid" = VcpuGetPhysid { phys_id }
    "struct vcpu_register_time_memory_area" = VcpuRegisterTimeMemoryArea { addr }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cr3_and_mfn_are_inverse() {
        assert_eq!(cr3_to_mfn(mfn_to_cr3(0x1234)), 0x1234);
        assert_eq!(VcpuGuestContext::default().trap_ctxt.len(), 256);
    }
}
