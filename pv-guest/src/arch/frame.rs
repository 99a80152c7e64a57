//! The registers of interrupted code, as every entry stub leaves them on the kernel stack.

use core::fmt;

use static_assertions::const_assert_eq;

/// What [`Frame::vector`] holds for a system call.
pub const VECTOR_SYSCALL: u64 = 0x101;
/// What [`Frame::vector`] holds for an event upcall.
pub const VECTOR_EVENT: u64 = 0x100;

/// All general registers and the return frame.
///
/// The upper half, from `rax`, is what the system call entry stores; the lower half is added when the kernel needs
/// everything (a trap, fork, a signal). The order is that of the pushes in `entry.rs`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Frame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub rcx: u64,
    /// Exception number, [`VECTOR_EVENT`] or [`VECTOR_SYSCALL`].
    pub vector: u64,
    /// The exception's error code, or 0.
    pub error: u64,
    pub rax: u64,
    pub r9: u64,
    pub r8: u64,
    pub r10: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rip: u64,
    /// The code selector; a bounce frame has the event mask of the interrupted code in bits 32-39.
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

const_assert_eq!(size_of::<Frame>(), 22 * 8);
// The stubs rely on this to keep the stack aligned for Rust code.
const_assert_eq!(size_of::<Frame>() % 16, 0);

impl Frame {
    /// The code selector, without the mask that a bounce frame carries beside it.
    pub fn selector(&self) -> u16 {
        self.cs as u16
    }

    /// Whether ring 3 was interrupted.
    pub fn is_from_user(&self) -> bool {
        self.cs & 3 == 3
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "vector {:#x} error {:#x} rip {:04x}:{:016x} rflags {:08x} rsp {:04x}:{:016x}",
            self.vector,
            self.error,
            self.selector(),
            self.rip,
            self.rflags,
            self.ss as u16,
            self.rsp
        )?;
        writeln!(
            f,
            "rax {:016x} rbx {:016x} rcx {:016x} rdx {:016x}",
            self.rax, self.rbx, self.rcx, self.rdx
        )?;
        writeln!(
            f,
            "rsi {:016x} rdi {:016x} rbp {:016x} r8  {:016x}",
            self.rsi, self.rdi, self.rbp, self.r8
        )?;
        writeln!(
            f,
            "r9  {:016x} r10 {:016x} r11 {:016x} r12 {:016x}",
            self.r9, self.r10, self.r11, self.r12
        )?;
        write!(f, "r13 {:016x} r14 {:016x} r15 {:016x}", self.r13, self.r14, self.r15)
    }
}
