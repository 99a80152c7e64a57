//! Entry and exit: the code that stands between ring 0 and everything else.

pub mod area;

use core::arch::global_asm;

use paravane_core::descriptor::{USER_CS32, USER_CS64, USER_SS};
use static_assertions::const_assert_eq;

use paravane_core::emulate::flag;
use paravane_core::guest::{EXIT_FAULT, VECTOR_SYSCALL, VECTOR_SYSCALL32};

global_asm!(
    include_str!("entry.S"),
    user_ss = const USER_SS as i32,
    user_cs64 = const USER_CS64 as i32,
    user_cs32 = const USER_CS32 as i32,
    exit_fault = const EXIT_FAULT,
    nmi_room = const crate::stack::NMI_ROOM,
    flag_vm = const flag::VM,
    vector_syscall = const VECTOR_SYSCALL,
    vector_syscall32 = const VECTOR_SYSCALL32,
);

/// What an entry from ring 0, or one on a stack of its own, has pushed: a `CpuUserRegs` without the segment
/// registers at its end, which nobody pushes.
#[repr(C)]
pub struct Frame {
    /// R15 to RDI, as pushed.
    pub registers: [u64; 15],
    /// As the processor pushed it, or 0.
    pub error_code: u32,
    /// What raised the entry.
    pub vector: u32,
    /// Where it happened.
    pub rip: u64,
    /// The ring it happened in, in its lowest two bits.
    pub cs: u64,
    /// RFLAGS then.
    pub flags: u64,
    /// RSP then.
    pub rsp: u64,
    /// SS then.
    pub ss: u64,
}
const_assert_eq!(size_of::<Frame>(), 168);

unsafe extern "C" {
    /// First of 32 stubs, 16 bytes apart, for vectors 0 to 31.
    pub safe static exception_stubs: u8;
    /// First of 32 stubs, 16 bytes apart, for vectors 0xe0 to 0xff.
    pub safe static device_stubs: u8;
    /// `int 0x82`.
    pub safe static hypercall_entry: u8;
    /// `syscall` when a callback is registered.
    pub safe static syscall_entry: u8;
    /// `syscall` when none is.
    pub safe static syscall_refused: u8;
    /// `syscall` from compatibility mode.
    pub safe static syscall32_entry: u8;
    /// Vector 2.
    pub safe static nmi_entry: u8;
    /// Vector 8.
    pub safe static double_fault_entry: u8;
    /// Vector 18.
    pub safe static machine_check_entry: u8;
    /// Vector 1.
    pub safe static debug_entry: u8;
    /// Leaves for the guest whose registers stand in the entry stack's frame.
    pub safe static return_to_guest: u8;
}
