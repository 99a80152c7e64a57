//! A guest that breaks the contract ends alone, with a report.

use super::world::*;
use crate::crash::Reason;
use crate::hypervisor::{Leave, Next};
use core::cell::RefCell;
use paravane_abi::event::*;
use paravane_abi::hypercall::*;
use paravane_abi::regs::CpuUserRegs;
use paravane_abi::trap::{TrapFlags, TrapInfo};
use std::string::{String, ToString};
use std::{format, thread_local};

thread_local! {
    /// What this thread's test has logged.
    static LOGGED: RefCell<String> = const { RefCell::new(String::new()) };
}

struct Keep;

impl log::Log for Keep {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        LOGGED.with_borrow_mut(|text| *text += &format!("{}\n", record.args()));
    }

    fn flush(&self) {}
}

/// A world whose log is kept.
fn logged() -> World {
    // Another test may have been first, with the same logger.
    let _ = log::set_logger(&Keep);
    log::set_max_level(log::LevelFilter::Trace);
    let world = World::new();
    LOGGED.with_borrow_mut(String::clear);
    world
}

/// The domain has crashed, and only that: the report begins with the reason.
fn assert_crashed(world: &mut World, regs: &CpuUserRegs, reason: Reason) {
    assert!(world.crashed(), "{reason}");
    let mut regs = *regs;
    assert_eq!(world.end(&mut regs), Leave::Crash);
    let text = LOGGED.with_borrow(String::clone);
    let first = format!("d1v0 crashed: {reason}\n");
    assert!(text.starts_with(&first), "{first:?} is not how this starts:\n{text}");
    for part in ["RIP: ", "cr2: ", "code at rip:", "stack from rsp:", "page walk of"] {
        assert!(text.contains(part), "{part:?} is missing from\n{text}");
    }
    world.audit();
}

#[test]
fn a_stack_that_takes_no_frame_ends_the_domain() {
    for (sp, reason) in [
        (HOLE + 0x100, Reason::StackFault { sp: HOLE + 0x100 - 64, address: HOLE + 0x100 - 64 }),
        (
            READ_ONLY + 0x100,
            Reason::StackFault { sp: READ_ONLY + 0x100 - 64, address: READ_ONLY + 0x100 - 64 },
        ),
        // The lower half of the frame lands where nothing is mapped.
        (HOLE + 0x1010, Reason::StackFault { sp: HOLE + 0x1010 - 64, address: HOLE + 0x1010 - 64 }),
        (0xffff_8080_0002_1000, Reason::BadStack { sp: 0xffff_8080_0002_1000 }),
        (0xffff_8800_0000_0000, Reason::BadStack { sp: 0xffff_8800_0000_0000 }),
        (0x8000_0000_0000 + 128, Reason::BadStack { sp: 0x8000_0000_0000 + 128 }),
        (0, Reason::StackFault { sp: 0u64.wrapping_sub(64), address: 0u64.wrapping_sub(64) }),
    ] {
        // The kernel's own stack.
        let mut world = logged();
        let before = CpuUserRegs { rsp: sp, ..world.kernel() };
        let regs = world.exception(before, 14, 2, 0x1000);
        assert_eq!(regs.rip, before.rip, "no register has changed");
        assert_crashed(&mut world, &regs, reason);
        // The one it gave for its programs.
        let mut world = logged();
        assert_eq!(world.call(HYPERVISOR_STACK_SWITCH, &[0, sp]), 0);
        assert_eq!(world.hv.machine.told.kernel_stack, sp);
        let before = world.program();
        let regs = world.exception(before, 14, 6, 0x1000);
        assert_eq!(regs.rip, before.rip);
        assert_crashed(&mut world, &regs, reason);
    }
}

#[test]
fn a_handler_that_is_none_ends_the_domain() {
    for handler in [0, 0xffff_8000_0000_0000, 0xffff_8080_0001_2000] {
        let mut world = logged();
        // An entry of address 0 ends the list, so the whole table goes.
        let clear = if handler == 0 { 0 } else { LIST };
        world.put(LIST, &[TrapInfo::new(6, TrapFlags::empty(), 0, handler), TrapInfo::default()]);
        assert_eq!(world.call(HYPERVISOR_SET_TRAP_TABLE, &[clear]), 0);
        let before = world.program();
        world.put(before.rip, &[0x0fu8, 0x0b]);
        let regs = world.exception(before, 6, 0, 0);
        assert_crashed(&mut world, &regs, Reason::NoHandler { handler });
        assert!(LOGGED.with_borrow(String::clone).contains("program, ring 3"));
    }
}

#[test]
fn an_event_without_a_callback_ends_the_domain() {
    let mut world = logged();
    assert_eq!(world.call(HYPERVISOR_SET_CALLBACKS, &[0, 0, 0]), 0);
    let request = EvtchnBindIpi { vcpu: 0, port: 0 };
    assert_eq!(world.op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_BIND_IPI, &request), 0);
    let port = world.get::<EvtchnBindIpi>(ARG).port;
    world.op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_UNMASK, &EvtchnUnmask { port });
    world.op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_SEND, &EvtchnSend { port });
    let mut regs = world.program();
    assert_eq!(world.next(&mut regs), Next::Work);
    assert_crashed(&mut world, &regs, Reason::NoHandler { handler: 0 });
}

#[test]
fn an_exception_while_an_exception_is_given_is_one_crash() {
    // The emulated instruction's #DB has no stack: the instruction is done, the domain over.
    let mut world = logged();
    let before = CpuUserRegs { rflags: 0x302, rsp: HOLE + 64, ..world.kernel() };
    world.put(before.rip, &[0x0fu8, 0x06]);
    let regs = world.exception(before, 13, 0, 0);
    assert!(!world.vcpu().task_switched);
    assert_crashed(&mut world, &regs, Reason::StackFault { sp: HOLE + 8, address: HOLE + 8 });
    assert_eq!(LOGGED.with_borrow(|text| text.matches("crashed").count()), 1);
}

#[test]
fn a_report_is_readable_even_when_nothing_is() {
    let mut world = logged();
    let regs = CpuUserRegs { rip: 1 << 47, rsp: 0xffff_8000_0000_0000, ..world.kernel() };
    let after = world.exception(regs, 13, 0, 0);
    assert_crashed(&mut world, &after, Reason::BadStack { sp: regs.rsp });
    let text = LOGGED.with_borrow(String::to_string);
    assert!(text.contains("code at rip: cannot be read") && text.contains("stack from rsp: cannot be read"));
}
