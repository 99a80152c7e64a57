//! Instructions that cases run, in kernel mode and in a program, and what should have come of them.

use paravane_abi::ring1::USER_CS64;
use paravane_abi::segment::FLAT_USER_SS;
use paravane_abi::shared_info::VcpuInfo;
use pv_probe::guard::{self, Caught, guard_rsp, guarded};
use pv_probe::memory::{self, PAGE, Page, mask_events};
use pv_probe::{ring, user};

use crate::trial::Trial;

/// Assembles lines, for a page of their own: they may refer to one another by numeric labels, and to nothing else.
#[macro_export]
macro_rules! code {
    ($($line:literal),+ $(,)?) => {{
        let (start, end): (u64, u64);
        // SAFETY: the lines go elsewhere; two addresses are taken here.
        unsafe {
            core::arch::asm!(
                ".pushsection .rodata.conformance, \"a\", @progbits", "771:", $($line,)+ "772:", ".popsection",
                "lea {0}, [rip + 771b]", "lea {1}, [rip + 772b]", out(reg) start, out(reg) end,
                options(nomem, nostack, preserves_flags)
            );
        }
        // SAFETY: the bytes between the labels, which nobody writes.
        unsafe { core::slice::from_raw_parts(start as *const u8, (end - start) as usize) }
    }};
}

/// The half of the guest that ran it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The kernel, on its own stack.
    Kernel,
    /// A program.
    Program,
}

impl Half {
    /// For the names of values.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Program => "program",
        }
    }
}

/// What came of some code.
#[derive(Clone, Copy, Debug)]
pub struct Came {
    /// What was raised.
    pub caught: Caught,
    /// Who ran.
    pub half: Half,
    /// The address of its first instruction.
    pub start: u64,
    /// RSP at its first instruction.
    pub rsp: u64,
}

/// Where the kernel's code is copied to.
static CODE: Page = Page::new();

/// The address of the kernel's code.
pub fn kernel_address() -> u64 {
    CODE.address()
}

/// Copies code to the kernel's page; behind it lies a `ud2`.
pub fn place(code: &[u8]) {
    let bytes = CODE.address() as *mut u8;
    for (index, byte) in code.iter().chain(&[0x0f, 0x0b]).enumerate() {
        // SAFETY: the page is for this alone, and the image is mapped writable and executable.
        unsafe { bytes.add(index).write_volatile(*byte) };
    }
}

/// Runs code in kernel mode, with an argument in RDI, to the end of what it raises. Behind it lies a `ud2`.
pub fn kernel(code: &[u8], argument: u64) -> Came {
    place(code);
    // SAFETY: the cases' code touches what is theirs, and ends in what it raises.
    let caught = unsafe { guarded(CODE.address(), argument) };
    Came { caught, half: Half::Kernel, start: CODE.address(), rsp: guard_rsp() - 8 }
}

/// Runs code as a program, with an argument in RDI, to what it raises. Behind it lies a `ud2`.
pub fn program(code: &[u8], argument: u64) -> Came {
    let mut registers = [0; 15];
    registers[5] = argument;
    program_with(code, &user::frame(), &registers)
}

/// Runs code as a program from this frame for `iret`.
pub fn program_with(code: &[u8], frame: &[u64; 9], registers: &[u64; 15]) -> Came {
    user::prepare();
    let mut bytes = [0; 256];
    bytes[..code.len()].copy_from_slice(code);
    bytes[code.len()..code.len() + 2].copy_from_slice(&[0x0f, 0x0b]);
    user::place(&bytes[..code.len() + 2]);
    // SAFETY: the program touches its own pages, and ends in what it raises.
    let caught = unsafe { guard::leave(frame, registers) };
    Came { caught, half: Half::Program, start: frame[4], rsp: frame[7] }
}

/// Runs code in this half.
pub fn run(half: Half, code: &[u8], argument: u64) -> Came {
    match half {
        Half::Kernel => kernel(code, argument),
        Half::Program => program(code, argument),
    }
}

/// Flags that instructions change by the way.
pub const ARITHMETIC: u64 = 0x8d5;

/// `saved_upcall_mask` in the slot of CS.
pub const SAVED_MASK: u64 = 1 << 32;

impl Came {
    /// CS as a frame shows it, without the saved mask.
    #[must_use]
    pub fn shown_code(&self) -> u64 {
        match self.half {
            Half::Kernel => ring::shown_code(),
            Half::Program => USER_CS64.into(),
        }
    }

    /// SS as a frame shows it.
    #[must_use]
    pub fn shown_stack(&self) -> u64 {
        match self.half {
            Half::Kernel => ring::stack().into(),
            Half::Program => FLAT_USER_SS.into(),
        }
    }

    /// Where the frame should be, of so many words.
    #[must_use]
    pub fn frame_address(&self, words: u64) -> u64 {
        let stack = match self.half {
            Half::Kernel => self.caught.frame()[3],
            Half::Program => guard::trap_stack(),
        };
        (stack & !15).wrapping_sub(words * 8)
    }

    /// Flags of the frame, but for those that instructions change by the way.
    #[must_use]
    pub fn flags(&self) -> u64 {
        self.caught.frame()[2] & !ARITHMETIC
    }

    /// Checks all of a frame that was pushed with events masked: the exception was raised by the instruction at this
    /// distance from the start, at the stack pointer of the start.
    pub fn expect(&self, t: &mut Trial, vector: u8, error: Option<u64>, distance: u64) {
        let what = self.half.name();
        t.raises(what, &self.caught, vector.into(), error);
        let [rip, cs, _, rsp, ss] = self.caught.frame();
        t.equal(format_args!("{what}.rip"), rip.wrapping_sub(self.start), distance);
        t.holds(format_args!("{what}.cs"), cs == self.shown_code() | SAVED_MASK);
        t.equal(format_args!("{what}.rflags"), self.flags(), 2);
        t.equal(format_args!("{what}.rsp"), rsp.wrapping_sub(self.rsp), 0);
        t.holds(format_args!("{what}.ss"), ss == self.shown_stack());
        let words = if error.is_some() { 8 } else { 7 };
        t.holds(format_args!("{what}.pushed-at"), self.caught.rsp == self.frame_address(words));
    }
}

/// `vcpu_info.arch.cr2`.
pub fn fault_address() -> u64 {
    // SAFETY: a word of the shared page.
    unsafe { (&raw const (*info()).arch.cr2).read_volatile() }
}

/// Sets it, which a guest may.
pub fn set_fault_address(address: u64) {
    // SAFETY: as above.
    unsafe { (&raw mut (*info()).arch.cr2).write_volatile(address) };
}

fn info() -> *mut VcpuInfo {
    memory::vcpu_info(0)
}

/// Runs something with events unmasked. They are masked again afterwards, as cases have them.
pub fn unmasked<R>(run: impl FnOnce() -> R) -> R {
    mask_events(false);
    let result = run();
    mask_events(true);
    result
}

/// The end of a page of the image that is mapped nowhere else in use.
#[must_use]
pub fn page_end(page: &Page) -> u64 {
    page.address() + PAGE
}
