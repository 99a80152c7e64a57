//! Register frames (`xen/arch-x86/xen-x86_64.h`).

use crate::macros::xen_structs;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A vcpu's general registers, selectors and flags: 200 bytes, Xen's `struct cpu_user_regs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct CpuUserRegs {
    /// R15.
    pub r15: u64,
    /// R14.
    pub r14: u64,
    /// R13.
    pub r13: u64,
    /// R12.
    pub r12: u64,
    /// RBP.
    pub rbp: u64,
    /// RBX.
    pub rbx: u64,
    /// R11.
    pub r11: u64,
    /// R10.
    pub r10: u64,
    /// R9.
    pub r9: u64,
    /// R8.
    pub r8: u64,
    /// RAX.
    pub rax: u64,
    /// RCX.
    pub rcx: u64,
    /// RDX.
    pub rdx: u64,
    /// RSI.
    pub rsi: u64,
    /// RDI.
    pub rdi: u64,
    /// Error code of the entry; the hypervisor's own, meaningless to a guest.
    pub error_code: u32,
    /// Vector of the entry; the hypervisor's own, meaningless to a guest.
    pub entry_vector: u32,
    /// RIP.
    pub rip: u64,
    /// CS selector.
    pub cs: u16,
    /// Padding.
    pub pad0: [u16; 1],
    /// `evtchn_upcall_mask` as it was, in bounce frames.
    pub saved_upcall_mask: u8,
    /// Padding.
    pub pad1: [u8; 3],
    /// RFLAGS. IF is the inverse of the upcall mask, not of the CPU's flag.
    pub rflags: u64,
    /// RSP.
    pub rsp: u64,
    /// SS selector.
    pub ss: u16,
    /// Padding.
    pub pad2: [u16; 3],
    /// ES selector.
    pub es: u16,
    /// Padding.
    pub pad3: [u16; 3],
    /// DS selector.
    pub ds: u16,
    /// Padding.
    pub pad4: [u16; 3],
    /// FS selector.
    pub fs: u16,
    /// Padding.
    pub pad5: [u16; 3],
    /// GS selector.
    pub gs: u16,
    /// Padding.
    pub pad6: [u16; 3],
}

/// What hypercall 23 (`iret`) pops from the guest kernel's stack: 72 bytes at RSP, Xen's `struct iret_context`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct IretContext {
    /// RAX to restore.
    pub rax: u64,
    /// R11 to restore, unless [`VGCF_IN_SYSCALL`] is set.
    pub r11: u64,
    /// RCX to restore, unless [`VGCF_IN_SYSCALL`] is set.
    pub rcx: u64,
    /// [`VGCF_IN_SYSCALL`] or 0.
    pub flags: u64,
    /// RIP to return to.
    pub rip: u64,
    /// CS: RPL 3 returns to guest user mode, any other to guest kernel mode.
    pub cs: u64,
    /// RFLAGS: IF clear sets the upcall mask, IF set clears it.
    pub rflags: u64,
    /// RSP to return to.
    pub rsp: u64,
    /// SS.
    pub ss: u64,
}

/// In [`IretContext::flags`]: the return may be a SYSRET, so RCX, R11, CS and SS of the context are not restored.
pub const VGCF_IN_SYSCALL: u64 = 1 << 8;

/// RFLAGS bits that PV entry and exit paths name (Intel SDM volume 1, 3.4.3).
pub mod rflags {
    /// Bit 1, always set.
    pub const FIXED: u64 = 1 << 1;
    /// Trap (single step).
    pub const TF: u64 = 1 << 8;
    /// Interrupts enabled.
    pub const IF: u64 = 1 << 9;
    /// Direction.
    pub const DF: u64 = 1 << 10;
    /// I/O privilege level, two bits.
    pub const IOPL: u64 = 3 << 12;
    /// Nested task.
    pub const NT: u64 = 1 << 14;
    /// Resume.
    pub const RF: u64 = 1 << 16;
    /// Virtual-8086 mode.
    pub const VM: u64 = 1 << 17;
    /// Alignment check.
    pub const AC: u64 = 1 << 18;
    /// Virtual interrupt flag.
    pub const VIF: u64 = 1 << 19;
    /// Virtual interrupt pending.
    pub const VIP: u64 = 1 << 20;
}

pub(crate) const XEN_CONSTANTS: &[crate::layout::ConstantRow] = &[crate::layout::ConstantRow {
    c_name: "VGCF_IN_SYSCALL",
    rust: concat!(module_path!(), "::VGCF_IN_SYSCALL"),
    value: VGCF_IN_SYSCALL as i128,
}];

xen_structs! {
    "struct cpu_user_regs" = CpuUserRegs {
        r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, error_code, entry_vector, rip, cs,
        pad0 = "_pad0", saved_upcall_mask, pad1 = "_pad1", rflags, rsp, ss, pad2 = "_pad2", es, pad3 = "_pad3", ds,
        pad4 = "_pad4", fs, pad5 = "_pad5", gs, pad6 = "_pad6",
    }
    "struct iret_context" = IretContext { rax, r11, rcx, flags, rip, cs, rflags, rsp, ss }
}
