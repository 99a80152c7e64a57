//! Port instructions, the kernel's and programs', at ports behind which no machine has a device.

use core::arch::global_asm;

use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP;
use paravane_abi::physdev::{PHYSDEVOP_SET_IOBITMAP, PHYSDEVOP_SET_IOPL, PhysdevSetIobitmap, PhysdevSetIopl};
use paravane_abi::trap::vector;
use pv_probe::guard::{Caught, RETURNED, guarded};
use pv_probe::hypercall::operation;
use pv_probe::user;

use crate::trial::Trial;

/// The first of sixteen such ports.
pub const PORT: u16 = 0xe0;

/// RAX before a read.
pub const BEFORE: u64 = 0x1122_3344_5566_7788;

global_asm!(
    ".pushsection .text.conformance_ports, \"ax\", @progbits",
    "conformance_in_byte:",
    "    mov edx, edi",
    "    movabs rax, {before}",
    "    in al, dx",
    "    ret",
    "conformance_in_word:",
    "    mov edx, edi",
    "    movabs rax, {before}",
    "    in ax, dx",
    "    ret",
    "conformance_in_long:",
    "    mov edx, edi",
    "    movabs rax, {before}",
    "    in eax, dx",
    "    ret",
    "conformance_out_byte:",
    "    mov edx, edi",
    "    xor eax, eax",
    "    out dx, al",
    "    ret",
    ".popsection",
    before = const BEFORE,
);

unsafe extern "C" {
    fn conformance_in_byte();
    fn conformance_in_word();
    fn conformance_in_long();
    fn conformance_out_byte();
}

/// A port instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `in al, dx`
    Byte,
    /// `in ax, dx`
    Word,
    /// `in eax, dx`
    Long,
    /// `out dx, al`
    Out,
}

impl Access {
    /// The kernel executes it.
    pub fn by_kernel(self, port: u16) -> Caught {
        let code = match self {
            Self::Byte => conformance_in_byte as *const () as u64,
            Self::Word => conformance_in_word as *const () as u64,
            Self::Long => conformance_in_long as *const () as u64,
            Self::Out => conformance_out_byte as *const () as u64,
        };
        // SAFETY: an access to a port of no device.
        unsafe { guarded(code, port.into()) }
    }

    /// A program executes it, then an invalid opcode.
    pub fn by_program(self, port: u16) -> Caught {
        let instruction: &[u8] = match self {
            Self::Byte => &[0xec],
            Self::Word => &[0x66, 0xed],
            Self::Long => &[0xed],
            Self::Out => &[0xee],
        };
        let mut code = [0x0f, 0x0b, 0x0f, 0x0b];
        code[..instruction.len()].copy_from_slice(instruction);
        if instruction.len() == 1 {
            code[1..3].copy_from_slice(&[0x0f, 0x0b]);
        }
        let mut registers = [0; 15];
        registers[3] = port.into();
        user::run(&code, &registers)
    }
}

/// The kernel may.
pub fn kernel_may(t: &mut Trial, what: &str, access: Access, port: u16) {
    t.raises(what, &access.by_kernel(port), RETURNED, None);
}

/// The kernel may not.
pub fn kernel_may_not(t: &mut Trial, what: &str, access: Access, port: u16) {
    t.raises(what, &access.by_kernel(port), vector::GP.into(), Some(0));
}

/// A program may: it gets to the invalid opcode.
pub fn program_may(t: &mut Trial, what: &str, access: Access, port: u16) {
    t.raises(what, &access.by_program(port), vector::UD.into(), None);
}

/// A program may not.
pub fn program_may_not(t: &mut Trial, what: &str, access: Access, port: u16) {
    t.raises(what, &access.by_program(port), vector::GP.into(), Some(0));
}

/// Sets the I/O privilege level.
pub fn set_level(iopl: u32) -> i64 {
    operation(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_SET_IOPL, &mut PhysdevSetIopl { iopl })
}

/// Sets the bitmap.
pub fn set_bitmap(bitmap: u64, nr_ports: u32) -> i64 {
    let mut request = PhysdevSetIobitmap { bitmap, nr_ports, pad: 0 };
    operation(HYPERVISOR_PHYSDEV_OP, PHYSDEVOP_SET_IOBITMAP, &mut request)
}
