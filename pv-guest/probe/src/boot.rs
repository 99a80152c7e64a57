//! What the kernel was given.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use paravane_abi::sched::SHUTDOWN_CRASH;
use paravane_abi::start_info::StartInfo;

use crate::{guard, hypercall, memory, print, ring, say};

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

struct Cell(UnsafeCell<Option<Start>>);

// SAFETY: written once, by the first instructions; only read afterwards.
unsafe impl Sync for Cell {}

static START: Cell = Cell(UnsafeCell::new(None));

/// What there is to know of the start.
pub fn start() -> &'static Start {
    // SAFETY: written once, before anything that calls this.
    unsafe { (*START.0.get()).as_ref().expect("the kernel has started") }
}

/// The words of the command line.
pub fn words() -> impl Iterator<Item = &'static str> {
    core::str::from_utf8(start().info.command_line()).unwrap_or("").split_ascii_whitespace()
}

/// The value of a word `NAME=VALUE` of the command line.
pub fn option(name: &str) -> Option<&'static str> {
    words().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// Takes the kernel's start down, maps what every kernel needs, and hands the stubs to the hypervisor.
///
/// # Safety
/// To be called once, on a stack of the image, with what the hypervisor left in the registers.
pub unsafe fn initialise(registers: EntryRegisters, hypercall_page: u64, image_end: u64) {
    let info_address = registers.0[4];
    // SAFETY: RSI held the address of start_info, which the boot mapping maps.
    let info = unsafe { (info_address as *const StartInfo).read() };
    // SAFETY: the one write, before anything reads it.
    unsafe { *START.0.get() = Some(Start { registers, info, info_address, hypercall_page, image_end }) };
    ring::initialise();
    print::initialise();
    assert!(info.has_magic(), "start_info has no magic");
    memory::initialise();
    print::mask_ports();
    guard::initialise();
}

/// Reports a panic and ends the domain as crashed.
pub fn panicked(info: &core::panic::PanicInfo<'_>) -> ! {
    static PANICKING: AtomicBool = AtomicBool::new(false);
    // A panic inside the report would repeat for ever.
    if !PANICKING.swap(true, Ordering::SeqCst) {
        say!("panic: {info}");
    }
    hypercall::shutdown(SHUTDOWN_CRASH)
}
