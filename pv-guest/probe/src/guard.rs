//! Runs code that may raise something, and tells what came of it: every exception, the event, failsafe and system call
//! callbacks end in one place, which writes down what the hypervisor pushed and all registers, and returns to who asked.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::fmt;
use core::mem::offset_of;

use paravane_abi::hypercall as nr;
use paravane_abi::ring1::{USER_CS64, USER_RSP_SLOT, USER_SS};
use paravane_abi::trap::{TrapFlags, TrapInfo, vector};

use crate::hypercall::raw;
use crate::memory::Page;
use crate::ring;

/// What is written down for the event callback.
pub const EVENT: u64 = 256;
/// What is written down for the failsafe callback.
pub const FAILSAFE: u64 = 257;
/// What is written down for the system call callback.
pub const SYSCALL: u64 = 258;
/// What is written down for code that returned; its RAX is there.
pub const RETURNED: u64 = 259;

/// Stubs, one for each vector and callback.
const STUBS: usize = 259;

/// Bytes of a stub.
const STUB: usize = 16;

/// Words of the stack that are written down.
const WORDS: usize = 12;

/// What was there when a stub was entered.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Caught {
    /// General registers, RAX, RBX, RCX, RDX, RSI, RDI, RBP, R8 to R15.
    pub registers: [u64; 15],
    /// RFLAGS in the stub.
    pub rflags: u64,
    /// RSP when the stub was entered.
    pub rsp: u64,
    /// The vector, or [`EVENT`], [`FAILSAFE`], [`SYSCALL`].
    pub vector: u64,
    /// What the hypervisor pushed, from RSP upwards.
    pub pushed: [u64; WORDS],
}

struct Cell<T>(UnsafeCell<T>);

// SAFETY: there is one vcpu; the stubs write while nothing reads.
unsafe impl<T> Sync for Cell<T> {}

#[unsafe(no_mangle)]
static PROBE_CAUGHT: Cell<Caught> =
    Cell(UnsafeCell::new(Caught { registers: [0; 15], rflags: 0, rsp: 0, vector: 0, pushed: [0; WORDS] }));

/// The stack that the hypervisor pushes on when something comes from user mode.
static TRAP_STACK: Page = Page::new();

global_asm!(
    ".pushsection .text.probe_guard, \"ax\", @progbits",
    ".balign 16",
    ".global probe_stubs",
    "probe_stubs:",
    ".set probe_vector, 0",
    ".rept {stubs}",
    "    .byte 0x68", // push imm32
    "    .long probe_vector",
    "    jmp probe_catch",
    "    .balign 16",
    "    .set probe_vector, probe_vector + 1",
    ".endr",
    // [RSP] is the vector, what the hypervisor pushed lies above.
    "probe_catch:",
    "    push rax",
    "    pushfq",
    "    lea rax, [rip + PROBE_CAUGHT]",
    "    pop qword ptr [rax + {rflags}]",
    "    pop qword ptr [rax]",
    "    mov [rax + 8], rbx",
    "    mov [rax + 16], rcx",
    "    mov [rax + 24], rdx",
    "    mov [rax + 32], rsi",
    "    mov [rax + 40], rdi",
    "    mov [rax + 48], rbp",
    "    mov [rax + 56], r8",
    "    mov [rax + 64], r9",
    "    mov [rax + 72], r10",
    "    mov [rax + 80], r11",
    "    mov [rax + 88], r12",
    "    mov [rax + 96], r13",
    "    mov [rax + 104], r14",
    "    mov [rax + 112], r15",
    "    cld",
    "    pop qword ptr [rax + {vector}]",
    "    mov [rax + {rsp}], rsp",
    "    mov rsi, rsp",
    "    lea rdi, [rax + {pushed}]",
    "    mov ecx, {words}",
    "    rep movsq",
    "    mov eax, 1",
    "    cmp byte ptr [rip + probe_guard_on], 0",
    "    jne 2f",
    "    and rsp, -16",
    "    call probe_unexpected",
    // fn(code: RDI, argument: RSI) -> RAX: 0 when the code returned.
    ".global probe_guarded",
    "probe_guarded:",
    "    push rbx",
    "    push rbp",
    "    push r12",
    "    push r13",
    "    push r14",
    "    push r15",
    "    pushfq",
    "    mov [rip + probe_guard_rsp], rsp",
    "    mov byte ptr [rip + probe_guard_on], 1",
    "    mov rax, rdi",
    "    mov rdi, rsi",
    "    call rax",
    "    mov [rip + PROBE_CAUGHT], rax",
    "    xor eax, eax",
    "2:  mov rsp, [rip + probe_guard_rsp]",
    "    mov byte ptr [rip + probe_guard_on], 0",
    "    popfq",
    "    pop r15",
    "    pop r14",
    "    pop r13",
    "    pop r12",
    "    pop rbp",
    "    pop rbx",
    "    ret",
    // fn(frame: RDI, registers: RSI): what `iret` takes, from its RAX, and general registers as in Caught.
    ".global probe_leave",
    "probe_leave:",
    "    push rbx",
    "    push rbp",
    "    push r12",
    "    push r13",
    "    push r14",
    "    push r15",
    "    pushfq",
    "    mov [rip + probe_guard_rsp], rsp",
    "    mov byte ptr [rip + probe_guard_on], 1",
    "    .irp offset, 64, 56, 48, 40, 32, 24, 16, 8, 0",
    "    push qword ptr [rdi + \\offset]",
    "    .endr",
    "    mov rbx, [rsi + 8]",
    "    mov rdx, [rsi + 24]",
    "    mov rdi, [rsi + 40]",
    "    mov rbp, [rsi + 48]",
    "    mov r8, [rsi + 56]",
    "    mov r9, [rsi + 64]",
    "    mov r10, [rsi + 72]",
    "    mov r12, [rsi + 88]",
    "    mov r13, [rsi + 96]",
    "    mov r14, [rsi + 104]",
    "    mov r15, [rsi + 112]",
    "    mov rsi, [rsi + 32]",
    "    mov eax, {iret}",
    "    cmp byte ptr [rip + probe_in_ring1], 0",
    "    jne 3f",
    "    syscall",
    // The call failed, and does not return when it does.
    "    ud2",
    "3:  int 0x82",
    "    ud2",
    // A program's system call enters ring 1 without a frame: RIP in RCX, flags in R11, RSP in its slot.
    ".global probe_syscall_ring1",
    "probe_syscall_ring1:",
    "    sub rsp, 56",
    "    push rax",
    "    movabs rax, {rsp_slot}",
    "    mov rax, [rax]",
    "    mov [rsp + 48], rax",
    "    mov qword ptr [rsp + 56], {user_ss}",
    "    mov [rsp + 40], r11",
    "    mov qword ptr [rsp + 32], {user_cs}",
    "    mov [rsp + 24], rcx",
    "    mov [rsp + 16], r11",
    "    mov [rsp + 8], rcx",
    "    pop rax",
    "    push {syscall}",
    "    jmp probe_catch",
    ".popsection",
    ".pushsection .bss.probe_guard, \"aw\", @nobits",
    "    .balign 8",
    ".global probe_guard_rsp",
    "probe_guard_rsp:",
    "    .skip 8",
    "probe_guard_on:",
    "    .skip 8",
    ".popsection",
    stubs = const STUBS,
    rflags = const offset_of!(Caught, rflags),
    vector = const offset_of!(Caught, vector),
    rsp = const offset_of!(Caught, rsp),
    pushed = const offset_of!(Caught, pushed),
    words = const WORDS,
    iret = const nr::HYPERVISOR_IRET,
    syscall = const SYSCALL,
    rsp_slot = const USER_RSP_SLOT,
    user_cs = const USER_CS64,
    user_ss = const USER_SS,
);

unsafe extern "C" {
    fn probe_stubs();
    fn probe_syscall_ring1();
    fn probe_guarded(code: u64, argument: u64) -> u64;
    fn probe_leave(frame: *const [u64; 9], registers: *const [u64; 15]) -> u64;
    static probe_guard_rsp: u64;
}

/// The address of a vector's or callback's stub.
#[must_use]
pub fn stub(vector: u64) -> u64 {
    probe_stubs as *const () as u64 + vector * STUB as u64
}

/// The address of the stub for programs' system calls.
#[must_use]
pub fn syscall_stub() -> u64 {
    if ring::is_1() { probe_syscall_ring1 as *const () as u64 } else { stub(SYSCALL) }
}

/// The end of the stack for what comes from user mode.
pub fn trap_stack() -> u64 {
    TRAP_STACK.address() + crate::memory::PAGE
}

/// The trap table that [`initialise`] registers, ended by an entry of zeroes. Vectors up to 31 are for nobody's `int`, but 3
/// and 4, and those above for programs'. In ring 1 the latter ask for masked events, since their frames would lack RCX and
/// R11 otherwise.
#[must_use]
pub fn trap_table() -> [TrapInfo; 66] {
    let mut table = [const { TrapInfo::new(0, TrapFlags::empty(), 0, 0) }; 66];
    let software = if ring::is_1() { TrapFlags::DPL3 | TrapFlags::MASK_EVENTS } else { TrapFlags::DPL3 };
    for (slot, number) in table.iter_mut().zip((0..64).chain([0x80])) {
        let flags = match number {
            vector::BP | vector::OF => TrapFlags::DPL3,
            32.. => software,
            _ => TrapFlags::empty(),
        };
        *slot = TrapInfo::new(number, flags, ring::code(), stub(u64::from(number)));
    }
    table
}

/// Gives the hypervisor the stubs and the stack, whatever was registered before.
pub fn initialise() {
    let table = trap_table();
    // The call without a table takes all handlers away.
    for table in [0, table.as_ptr() as u64] {
        let result = raw(nr::HYPERVISOR_SET_TRAP_TABLE, [table, 0, 0, 0, 0]);
        assert!(result == 0, "set_trap_table: {result}");
    }
    let result = raw(nr::HYPERVISOR_SET_CALLBACKS, [stub(EVENT), stub(FAILSAFE), syscall_stub(), 0, 0]);
    assert!(result == 0, "set_callbacks: {result}");
    let result = raw(nr::HYPERVISOR_STACK_SWITCH, [ring::stack().into(), trap_stack(), 0, 0, 0]);
    assert!(result == 0, "stack_switch: {result}");
}

/// Reached when something is raised that no case waits for.
#[unsafe(no_mangle)]
extern "C" fn probe_unexpected() -> ! {
    let caught = caught();
    panic!("unexpected: {}, pushed {:x?}", caught.seen(0, 0), caught.pushed)
}

fn caught() -> Caught {
    // SAFETY: the stubs have written it, and there is one vcpu.
    unsafe { PROBE_CAUGHT.0.get().read_volatile() }
}

/// Calls a function in kernel mode: what it raised, or that it returned.
///
/// # Safety
/// The code must leave memory alone that is not a case's, and return by the C convention if it returns.
pub unsafe fn guarded(code: u64, argument: u64) -> Caught {
    // SAFETY: as the caller promises; the stubs restore what the convention keeps.
    match unsafe { probe_guarded(code, argument) } {
        0 => Caught { vector: RETURNED, ..caught() },
        _ => caught(),
    }
}

/// Executes `iret` with a frame (RAX, R11, RCX, flags, RIP, CS, RFLAGS, RSP, SS) and registers as in [`Caught`], and waits
/// for what comes of it.
///
/// # Safety
/// What runs then must leave memory alone that is not a case's, and raise something in the end.
pub unsafe fn leave(frame: &[u64; 9], registers: &[u64; 15]) -> Caught {
    // SAFETY: as the caller promises.
    unsafe { probe_leave(frame, registers) };
    caught()
}

/// RSP before guarded code was called: its own is 8 less.
pub fn guard_rsp() -> u64 {
    // SAFETY: a word that the entry above writes.
    unsafe { (&raw const probe_guard_rsp).read_volatile() }
}

impl Caught {
    /// The words of the frame behind RCX, R11 and, for the failsafe callback, the selectors.
    fn frame_at(&self) -> usize {
        match self.vector {
            FAILSAFE => 6,
            number if number < 32 && vector::has_error_code(number as u8) => 3,
            _ => 2,
        }
    }

    /// The error code, where the vector has one.
    #[must_use]
    pub fn error(&self) -> Option<u64> {
        (self.vector < 32 && self.frame_at() == 3).then(|| self.pushed[2])
    }

    /// RIP, CS, RFLAGS, RSP, SS of the frame.
    #[must_use]
    pub fn frame(&self) -> [u64; 5] {
        let at = self.frame_at();
        core::array::from_fn(|index| self.pushed[at + index])
    }

    /// For a line; RIP and RSP as distances from these.
    #[must_use]
    pub const fn seen(&self, rip: u64, rsp: u64) -> Seen {
        Seen { caught: *self, rip, rsp }
    }
}

/// See [`Caught::seen`].
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    caught: Caught,
    rip: u64,
    rsp: u64,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let caught = &self.caught;
        match caught.vector {
            EVENT => f.write_str("event")?,
            FAILSAFE => {
                let [ds, es, fs, gs] = [2, 3, 4, 5].map(|index| caught.pushed[index]);
                write!(f, "failsafe ds={ds:x} es={es:x} fs={fs:x} gs={gs:x}")?;
            }
            SYSCALL => f.write_str("syscall")?,
            RETURNED => return write!(f, "returned {:#x}", caught.registers[0]),
            number => write!(f, "vector {number}")?,
        }
        if let Some(error) = caught.error() {
            write!(f, " error={error:x}")?;
        }
        let [rip, cs, rflags, rsp, ss] = caught.frame();
        write!(
            f,
            " rip={} cs={cs:x} rflags={rflags:x} rsp={} ss={ss:x}",
            Distance(rip.wrapping_sub(self.rip)),
            Distance(rsp.wrapping_sub(self.rsp)),
        )
    }
}

/// A difference of addresses; what is too far for one is told as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distance(pub u64);

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signed = self.0 as i64;
        let sign = if signed < 0 { '-' } else { '+' };
        write!(f, "{sign}{:#x}", signed.unsigned_abs())
    }
}
