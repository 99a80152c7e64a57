//! What the kernel was given, and the case it runs.

use core::cell::UnsafeCell;

use paravane_abi::sched::{SHUTDOWN_CRASH, SHUTDOWN_POWEROFF};
use paravane_abi::start_info::StartInfo;

use super::{guard, hypercall, memory};
use crate::cases;
use crate::say;

/// What guest-physical address 0 is mapped at.
pub const VIRT_BASE: u64 = 0xffff_ffff_8000_0000;

/// Where the kernel asks for the p2m: in an L4 slot of its own, as Linux does.
pub const INIT_P2M: u64 = 0x80_0000_0000;

/// The registers at the first instruction, in the order in which [`NAMES`](Self::NAMES) has them.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct EntryRegisters(pub [u64; Self::COUNT]);

impl EntryRegisters {
    /// How many.
    pub const COUNT: usize = 23;

    /// Their names. The last but six is the flags; then the selectors.
    pub const NAMES: [&'static str; Self::COUNT] = [
        "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
        "r15", "rsp", "rflags", "cs", "ss", "ds", "es", "fs", "gs",
    ];

    /// The stack pointer.
    #[must_use]
    pub const fn rsp(&self) -> u64 {
        self.0[15]
    }
}

/// What there is to know of the start.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// The registers at the first instruction.
    pub registers: EntryRegisters,
    /// The start-info page, as the hypervisor left it.
    pub info: StartInfo,
    /// Where that page is.
    pub info_address: u64,
    /// The page that the hypervisor fills with its stubs.
    pub hypercall_page: u64,
    /// The first address behind the image.
    pub image_end: u64,
}

struct Cell<T>(UnsafeCell<T>);

// SAFETY: there is one vcpu and no interrupt handler that would come here.
unsafe impl<T> Sync for Cell<T> {}

static START: Cell<Option<Start>> = Cell(UnsafeCell::new(None));
static CASE: Cell<&str> = Cell(UnsafeCell::new(""));

/// What there is to know of the start.
pub fn start() -> &'static Start {
    // SAFETY: written once, before anything that calls this.
    unsafe { (*START.0.get()).as_ref().expect("the kernel has started") }
}

/// The case that runs.
pub fn case_name() -> &'static str {
    // SAFETY: one vcpu, and a copy.
    unsafe { *CASE.0.get() }
}

/// Runs what the command line asks for, and ends the domain.
///
/// # Safety
/// To be called once, on a stack of the image, with what the hypervisor left in the registers.
pub unsafe fn run(registers: EntryRegisters, hypercall_page: u64, image_end: u64) -> ! {
    let info_address = registers.0[4];
    // SAFETY: RSI held the address of start_info, which the boot mapping maps.
    let info = unsafe { (info_address as *const StartInfo).read() };
    assert!(info.has_magic(), "start_info has no magic");
    // SAFETY: the one write, before anything reads it.
    unsafe { *START.0.get() = Some(Start { registers, info, info_address, hypercall_page, image_end }) };
    memory::initialise();
    guard::initialise();
    let line = core::str::from_utf8(start().info.command_line()).unwrap_or("");
    let wanted = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("case="));
    let mut ran = 0;
    for case in cases::ALL.iter().filter(|case| wanted.is_none_or(|name| name == case.name)) {
        // SAFETY: one vcpu.
        unsafe { *CASE.0.get() = case.name };
        (case.observe)();
        say!("ok oracle.{}", case.name);
        ran += 1;
    }
    say!("demo: {ran} ok, 0 failed");
    hypercall::shutdown(if ran == 0 { SHUTDOWN_CRASH } else { SHUTDOWN_POWEROFF })
}
