//! Attacks that end the domain: the contract says so, and nothing but the domain may end.

use core::sync::atomic::Ordering;

use paravane_abi::callback::{CALLBACKOP_REGISTER, CALLBACKTYPE_SYSCALL, CallbackRegister};
use paravane_abi::hypercall as nr;
use paravane_abi::mmu::{MMUEXT_NEW_BASEPTR, MMUEXT_NEW_USER_BASEPTR, MMUEXT_PIN_L4_TABLE};
use paravane_abi::ring1::{ENTRY_AREA, ENTRY_CODE_OFFSET};
use paravane_abi::trap::TrapInfo;

use super::subject;
use crate::guard;
use crate::hypercall::{map, mmuext, operation, raw};
use crate::memory::{PAGE, READ, WINDOW, event_pending, memory, shared, take};
use crate::{ring, say};

const UD2: [u8; 2] = [0x0f, 0x0b];
const INT80: [u8; 2] = [0xcd, 0x80];
const SYSCALL: [u8; 2] = [0x0f, 0x05];
const ENTRY_STACK: u64 = 0xffff_8080_0002_0800;
const DESCRIPTORS: u64 = 0xffff_8080_0000_0800;

/// A page that can be read and not written, and one that is a page table.
fn read_only() -> u64 {
    let frame = take();
    assert!(map(WINDOW, frame << 12 | READ) == 0);
    WINDOW + PAGE / 2
}

fn page_table() -> u64 {
    assert!(map(WINDOW, memory().window << 12 | READ) == 0);
    WINDOW + PAGE / 2
}

fn unmapped() -> u64 {
    WINDOW + 100 * PAGE
}

const NOT_CANONICAL: u64 = 0x8000_0000_0800;

/// A program raises something and the kernel's stack is this one.
fn from_user(code: &[u8], sp: u64) {
    raw(nr::HYPERVISOR_STACK_SWITCH, [ring::stack().into(), sp, 0, 0, 0]);
    let end = subject::run_user(code);
    say!("attack: came back with vector {:#x}", end.vector);
}

/// The kernel raises something on this stack.
fn from_kernel(sp: u64) {
    let mut start = subject::kernel(&UD2);
    start.rsp = sp;
    let end = guard::run(&start);
    say!("attack: came back with vector {:#x}", end.vector);
}

/// Makes one.
pub fn make(name: &str) {
    match name {
        "stack-switch-unmapped" => from_user(&UD2, unmapped()),
        "stack-switch-read-only" => from_user(&UD2, read_only()),
        "stack-switch-not-canonical" => from_user(&UD2, NOT_CANONICAL),
        "stack-switch-hypervisor" => from_user(&UD2, ENTRY_STACK),
        "stack-switch-page-table" => from_user(&UD2, page_table()),
        "int80-unmapped" => from_user(&INT80, unmapped()),
        "int80-not-canonical" => from_user(&INT80, NOT_CANONICAL),
        "bounce-unmapped" => from_kernel(unmapped()),
        "bounce-read-only" => from_kernel(read_only()),
        "bounce-not-canonical" => from_kernel(NOT_CANONICAL),
        "bounce-hypervisor" => from_kernel(DESCRIPTORS),
        "bounce-entry-stack" => from_kernel(ENTRY_STACK),
        "bounce-page-table" => from_kernel(page_table()),
        "bounce-wraps" => from_kernel(16),
        "event-unmapped" => event_unmapped(),
        "no-handler" => no_handler(0),
        "handler-hypervisor" => no_handler(0xffff_8080_0001_2000),
        "syscall-into-entry-area" => syscall_into_entry_area(unmapped()),
        "entry-code" => entry_code(),
        "syscall-unmapped" => from_user(&SYSCALL, unmapped()),
        "syscall-hypervisor-stack" => from_user(&SYSCALL, ENTRY_STACK),
        "syscall-into-hypervisor" => syscall_into_entry_area(crate::entries::kernel_stack(0)),
        "no-user-table" => no_user_table(),
        "base-without-kernel" => base_without_kernel(),
        other => panic!("{other} is listed, but nobody makes it"),
    }
}

fn event_unmapped() {
    // SAFETY: the event words of the shared page; no other vcpu uses them.
    unsafe { (&raw mut (*shared()).vcpu_info[0].evtchn_pending_sel).write_volatile(1) };
    event_pending(0).store(1, Ordering::SeqCst);
    from_user(&[0xeb, 0xfe], unmapped());
}

fn no_handler(address: u64) {
    if address == 0 {
        raw(nr::HYPERVISOR_SET_TRAP_TABLE, [0; 5]);
    } else {
        let table =
            [TrapInfo { vector: 6, cs: ring::code(), address, ..TrapInfo::default() }, TrapInfo::default()];
        raw(nr::HYPERVISOR_SET_TRAP_TABLE, [table.as_ptr() as u64, 0, 0, 0, 0]);
    }
    let end = subject::run_kernel(&UD2);
    say!("attack: came back with vector {:#x}", end.vector);
}

fn syscall_into_entry_area(sp: u64) {
    let mut request = CallbackRegister::new(CALLBACKTYPE_SYSCALL, 0, 0xffff_8080_0001_2000);
    operation(nr::HYPERVISOR_CALLBACK_OP, CALLBACKOP_REGISTER, &mut request);
    raw(nr::HYPERVISOR_STACK_SWITCH, [ring::stack().into(), sp, 0, 0, 0]);
    let end = subject::run_user(&SYSCALL);
    say!("attack: came back with vector {:#x}", end.vector);
}

fn entry_code() {
    let code = ENTRY_AREA + ENTRY_CODE_OFFSET;
    // mov rsp, [rip + ...]
    let found = (0..4000u64).find(|offset| {
        // SAFETY: ring 1 can read the entry code's first page.
        let bytes = unsafe { ((code + offset) as *const [u8; 3]).read_volatile() };
        bytes == [0x48, 0x8b, 0x25]
    });
    let offset = found.expect("the entry code takes its stack from memory");
    let end = guard::run(&guard::Start::kernel(code + offset, subject::kernel_stack()));
    say!("attack: came back with vector {:#x}", end.vector);
}

fn no_user_table() {
    let taken = mmuext(MMUEXT_NEW_USER_BASEPTR, 0, 0);
    say!("attack: no table for programs: {taken}");
    let end = subject::run_user(&UD2);
    say!("attack: came back with vector {:#x}", end.vector);
}

fn base_without_kernel() {
    let empty = take();
    let pinned = mmuext(MMUEXT_PIN_L4_TABLE, empty, 0);
    let loaded = mmuext(MMUEXT_NEW_BASEPTR, empty, 0);
    say!("attack: still here: {pinned} {loaded}");
}
