//! Attacks that need a second vcpu: what one reads while the hypervisor works for the other, the other changes.

use core::sync::atomic::{AtomicU64, Ordering};

use paravane_abi::event::{
    EVTCHNOP_BIND_IPI, EVTCHNOP_CLOSE, EVTCHNOP_SEND, EvtchnBindIpi, EvtchnClose, EvtchnSend,
};
use paravane_abi::hypercall as nr;
use paravane_abi::mmu::{
    DOMID_SELF, MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L2_TABLE, MMUEXT_UNPIN_TABLE, UVMF_NONE,
};
use paravane_abi::multicall::MulticallEntry;
use paravane_abi::ring1::{ENTRY_AREA, ENTRY_IST_OFFSET, ENTRY_STACK_OFFSET};
use pv_attack_logic::random::Random;

use super::{Report, Row, subject};
use crate::guard::{self, NOTHING, Regs, Start};
use crate::hypercall::{counters, map, mmuext, operation, raw};
use crate::memory::{KERNEL, NX, P, PAGE, READ, STRUCTURES, WINDOW, fill, memory, peek, take};
use crate::smp::{gather, give, stopping};

/// See the module. They are made where there is a second vcpu, and tell how many took part.
pub const ROWS: &[Row] = &[
    Row {
        name: "smp-arguments",
        reason: "arguments that change between the check and the use",
        run: arguments,
    },
    Row {
        name: "smp-mappings",
        reason: "page-table entries of a call's arguments change while it walks them",
        run: mappings,
    },
    Row {
        name: "smp-stale-write",
        reason: "a page becomes a table while another processor still writes it by a cached translation (XSA-401)",
        run: stale_write,
    },
    Row {
        name: "smp-tables",
        reason: "two processors pin, unpin, map and write the same frames",
        run: tables,
    },
    Row {
        name: "smp-entry-stacks",
        reason: "each processor scribbles the entry stacks it can reach while the other enters",
        run: entry_stacks,
    },
    Row {
        name: "smp-upper-entries",
        reason: "an entry of the root changes under a processor that walks it: its copy of the root must follow before the call returns",
        run: upper_entries,
    },
    Row { name: "smp-events", reason: "events to each other while ports are closed", run: events },
];

/// Rounds of vcpu 0; the others go on as long.
const ROUNDS: u64 = 500;

/// Writes what could be arguments all over the page of structures.
fn scribble_structures(vcpu: usize) {
    let mut random = Random::new(vcpu as u64);
    while !stopping() {
        let word = match random.below(4) {
            0 => random.below(64),
            1 => WINDOW + random.below(1 << 20),
            2 => random.next(),
            _ => STRUCTURES + random.below(4096),
        };
        let place = STRUCTURES + random.below(256) * 8;
        // SAFETY: the page of structures, which is there to be fought over.
        unsafe { (place as *mut u64).write_volatile(word) };
    }
}

fn arguments(report: &mut Report) {
    give(scribble_structures);
    let mut random = Random::new(7);
    let mut answers = [0u32; 2];
    for _ in 0..ROUNDS {
        // Calls whose structures another writes, none of which can end the domain: no shutting down, no other root.
        for (number, first) in [
            (nr::HYPERVISOR_MEMORY_OP, random.pick(&[3u64, 4, 9, 12])),
            (nr::HYPERVISOR_EVENT_CHANNEL_OP, random.below(13)),
            (nr::HYPERVISOR_GRANT_TABLE_OP, random.below(12)),
            (nr::HYPERVISOR_PHYSDEV_OP, 5 + random.below(3)),
            (nr::HYPERVISOR_XEN_VERSION, random.below(11)),
        ] {
            let count = 1 + random.below(3);
            let end = guard::hypercall(number, [first, STRUCTURES, count, 0, 0, 0]);
            answers[usize::from(end.regs.rax as i64 >= 0)] += 1;
            report.check(format_args!("{number} ended with {:#x}", end.vector), end.vector == NOTHING);
        }
        let update = [STRUCTURES, 1 + random.below(4), STRUCTURES + 2048, DOMID_SELF.into(), 0, 0];
        let end = guard::hypercall(nr::HYPERVISOR_MMU_UPDATE, update);
        report.check(format_args!("mmu_update ended with {:#x}", end.vector), end.vector == NOTHING);
    }
    gather();
    report.note(format_args!("{} calls done, {} refused", answers[1], answers[0]));
}

/// Frames that the mapping of a page changes between.
static FRAMES: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

fn remap(vcpu: usize) {
    let mut random = Random::new(100 + vcpu as u64);
    while !stopping() {
        let frame = FRAMES[random.below(3) as usize].load(Ordering::Relaxed) << 12;
        let entry = match random.below(4) {
            0 => 0,
            1 => frame | READ | NX,
            _ => frame | KERNEL | NX,
        };
        let arguments = [WINDOW + 40 * PAGE, entry, random.below(3), 0, 0];
        raw(nr::HYPERVISOR_UPDATE_VA_MAPPING, arguments);
    }
}

fn mappings(report: &mut Report) {
    for slot in &FRAMES {
        slot.store(take(), Ordering::Relaxed);
    }
    give(remap);
    let page = WINDOW + 40 * PAGE;
    let mut random = Random::new(8);
    let mut done = 0;
    for _ in 0..ROUNDS {
        let offset = random.pick(&[0, 8, 4088, 4094, 2048]);
        for (number, arguments) in [
            (nr::HYPERVISOR_MULTICALL, [page + offset, random.below(8), 0, 0, 0, 0]),
            (nr::HYPERVISOR_XEN_VERSION, [1 + random.below(6), page + offset, 0, 0, 0, 0]),
            (nr::HYPERVISOR_MEMORY_OP, [12, page + offset, 0, 0, 0, 0]),
            (nr::HYPERVISOR_MMU_UPDATE, [page + offset, 3, page, DOMID_SELF.into(), 0, 0]),
            (nr::HYPERVISOR_EVENT_CHANNEL_OP, [5, page + offset, 0, 0, 0, 0]),
        ] {
            let end = guard::hypercall(number, arguments);
            done += u32::from(end.vector == NOTHING && end.regs.rax as i64 >= 0);
            report.check(format_args!("{number} ended with {:#x}", end.vector), end.vector == NOTHING);
        }
        // The empty calls of a multicall that lay there have cleared the traps.
        if !crate::entries::try_arm() {
            report.check(format_args!("traps and callbacks"), false);
        }
    }
    gather();
    report.result("the page taken out", map(page, 0), 0);
    report.note(format_args!("{done} calls done"));
}

/// A word that no table may have: a frame beyond RAM.
const BAD: u64 = 0xfff_ffff << 12 | KERNEL;

fn write_on(vcpu: usize) {
    // mov [rdi], rax: over and over; a fault is no end of it.
    let code = subject::place_on(vcpu, &[0x48, 0x89, 0x07, 0x48, 0x89, 0x47, 0x08]);
    while !stopping() {
        let mut start = Start::kernel(code, subject::stack_on(vcpu));
        start.regs = Regs { rdi: WINDOW + (vcpu as u64 * 8) % PAGE, rax: BAD, ..Regs::default() };
        guard::run_on(vcpu, &start);
    }
}

fn stale_write(report: &mut Report) {
    let frame = take();
    give(write_on);
    let (mut pinned, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        report.result("a mapping", map(WINDOW, frame << 12 | KERNEL | NX), 0);
        for _ in 0..round % 64 {
            core::hint::spin_loop();
        }
        for index in 0..4 * 8 {
            // SAFETY: the window maps the frame; the others write it too.
            unsafe { (WINDOW as *mut u64).add(index).write_volatile(0) };
        }
        raw(nr::HYPERVISOR_UPDATE_VA_MAPPING, [WINDOW, 0, UVMF_NONE, 0, 0]);
        if mmuext(MMUEXT_PIN_L1_TABLE, frame, 0) != 0 {
            // What another wrote before made it a bad table.
            refused += 1;
            continue;
        }
        pinned += 1;
        report.result("a view", map(WINDOW + PAGE, frame << 12 | READ | NX), 0);
        for _ in 0..20 {
            for index in 0..4 * 8 {
                // SAFETY: the view.
                let word = unsafe { ((WINDOW + PAGE) as *const u64).add(index).read_volatile() };
                report.check(format_args!("a table has {word:#x}"), word & P == 0);
            }
        }
        report.result("taking the view out", map(WINDOW + PAGE, 0), 0);
        report.result("unpinning", mmuext(MMUEXT_UNPIN_TABLE, frame, 0), 0);
    }
    gather();
    report.check(format_args!("never a table: {refused}"), pinned > 0);
    report.result("unmapping", map(WINDOW, 0), 0);
    report.note(format_args!("{pinned} tables, {refused} refused"));
}

/// What both do to the same few frames.
fn fight(vcpu: usize, random: &mut Random) -> i64 {
    let frame = FRAMES[random.below(3) as usize].load(Ordering::Relaxed);
    let page = WINDOW + (50 + random.below(4)) * PAGE;
    let regs = |number: u64, arguments: [u64; 4]| Regs {
        rax: number,
        rdi: arguments[0],
        rsi: arguments[1],
        rdx: arguments[2],
        r10: arguments[3],
        ..Regs::default()
    };
    match random.below(6) {
        0 => mmuext(if random.once_in(2) { MMUEXT_PIN_L1_TABLE } else { MMUEXT_PIN_L2_TABLE }, frame, 0),
        1 => mmuext(MMUEXT_UNPIN_TABLE, frame, 0),
        2 | 3 => {
            let flags = random.pick(&[KERNEL, READ, 0]);
            map(page, if flags == 0 { 0 } else { frame << 12 | flags | NX })
        }
        4 => {
            let other = FRAMES[random.below(3) as usize].load(Ordering::Relaxed);
            crate::hypercall::set_entry(frame, random.below(512) as usize, other << 12 | READ)
        }
        _ => {
            let code = subject::place_on(vcpu, &[0x48, 0x89, 0x07]);
            let mut start = Start::kernel(code, subject::stack_on(vcpu));
            start.regs = regs(0, [page + random.below(512) * 8, 0, 0, 0]);
            guard::run_on(vcpu, &start);
            0
        }
    }
}

fn fight_on(vcpu: usize) {
    let mut random = Random::new(200 + vcpu as u64);
    while !stopping() {
        fight(vcpu, &mut random);
    }
}

fn tables(report: &mut Report) {
    for slot in &FRAMES {
        slot.store(take(), Ordering::Relaxed);
    }
    give(fight_on);
    let mut random = Random::new(9);
    let mut done = 0;
    for _ in 0..4 * ROUNDS {
        done += u32::from(fight(0, &mut random) == 0);
    }
    gather();
    for page in 50..54 {
        report.result("unmapping", map(WINDOW + page * PAGE, 0), 0);
    }
    for slot in &FRAMES {
        let frame = slot.load(Ordering::Relaxed);
        // Twice at most: nothing is pinned more than once.
        mmuext(MMUEXT_UNPIN_TABLE, frame, 0);
        report.refused("pinned twice", mmuext(MMUEXT_UNPIN_TABLE, frame, 0));
    }
    for slot in &FRAMES {
        report.result("all are free", map(WINDOW, slot.load(Ordering::Relaxed) << 12 | KERNEL), 0);
        fill_zero(WINDOW);
        report.result("unmapping", map(WINDOW, 0), 0);
    }
    report.note(format_args!("{done} done by vcpu 0"));
}

fn fill_zero(page: u64) {
    for index in 0..512 {
        // SAFETY: mapped by the caller.
        unsafe { (page as *mut u64).add(index).write_volatile(0) };
    }
}

fn scribble_stacks(vcpu: usize) {
    let page = ENTRY_AREA + ENTRY_STACK_OFFSET;
    let interrupts = ENTRY_AREA + ENTRY_IST_OFFSET;
    let mut random = Random::new(300 + vcpu as u64);
    while !stopping() {
        let stack =
            random.pick(&[page, interrupts, interrupts + 0x2000, interrupts + 0x4000, interrupts + 0x6000]);
        let word = random.pick(&[0, !0, 0xe008, 0xffff_82d0_8020_0000, 0x202, page]);
        // SAFETY: pages that ring 1 can write; that they are this processor's own is the test.
        unsafe { (stack as *mut u64).add(random.below(512) as usize).write_volatile(word) };
    }
}

fn entry_stacks(report: &mut Report) {
    give(scribble_stacks);
    for round in 0..4 * ROUNDS {
        let version = crate::hypercall::null();
        report.check(format_args!("the null call gives {version}"), version == 4 << 16 | 17);
        let end = match round % 4 {
            0 => subject::run_kernel(&[0x0f, 0x0b]),
            1 => subject::run_user(&[0x0f, 0x05]),
            2 => subject::run_user(&[0xcd, 0x80]),
            _ => subject::run_user(&[0x0f, 0x0b]),
        };
        let wanted = [6, guard::SYSCALL, guard::INT80, 6][round as usize % 4];
        report.check(format_args!("vector {:#x}, wanted {wanted:#x}", end.vector), end.vector == wanted);
    }
    gather();
}

/// What an entry of the root leads to: in bit 0 whether it is being changed, above that the word at the end, above that
/// the round, since a vcpu that stands still for some rounds must not take one state for another.
static ROOT_ENTRY: AtomicU64 = AtomicU64::new(0);
static SEEN: AtomicU64 = AtomicU64::new(0);
/// Where the changing entry maps to: L4 slot 400.
const CHANGING: u64 = 0xffff_c800_0000_0000;

fn read_on(vcpu: usize) {
    let code = subject::place_on(vcpu, &[0x48, 0x8b, 0x07]); // mov rax, [rdi]
    while !stopping() {
        let before = ROOT_ENTRY.load(Ordering::Acquire);
        let mut start = Start::kernel(code, subject::stack_on(vcpu));
        start.regs = Regs { rdi: CHANGING, ..Regs::default() };
        let end = guard::run_on(vcpu, &start);
        let after = ROOT_ENTRY.load(Ordering::Acquire);
        // What the entry was before and after, nobody changed it between: then it is what must have been read.
        if before == after && before & 1 == 0 {
            let read = if end.vector == subject::BREAKPOINT { end.regs.rax } else { 0 };
            let there = before >> 1 & 3;
            if read != there {
                SEEN.store(read << 8 | there << 1 | 1, Ordering::Release);
            }
        }
    }
}

fn upper_entries(report: &mut Report) {
    // Three ways the address may lead: nowhere, to a page with 1, to one with 2.
    let l3s: [u64; 2] = core::array::from_fn(|index| {
        let (l3, l2, l1, page) = (take(), take(), take(), take());
        fill(page, |_| index as u64 + 1);
        fill(l1, |at| if at == 0 { page << 12 | KERNEL } else { 0 });
        fill(l2, |at| if at == 0 { l1 << 12 | KERNEL } else { 0 });
        fill(l3, |at| if at == 0 { l2 << 12 | KERNEL } else { 0 });
        l3
    });
    SEEN.store(0, Ordering::Relaxed);
    ROOT_ENTRY.store(0, Ordering::Release);
    give(read_on);
    for round in 0..2 * ROUNDS {
        let which = (round % 3) as usize;
        let state = round << 3 | (which as u64) << 1;
        let entry = if which == 0 { 0 } else { l3s[which - 1] << 12 | KERNEL };
        ROOT_ENTRY.store(state | 1, Ordering::Release);
        report.result("the entry", crate::hypercall::set_entry(memory().l4, 400, entry), 0);
        ROOT_ENTRY.store(state, Ordering::Release);
        for _ in 0..round % 256 {
            core::hint::spin_loop();
        }
        let seen = SEEN.load(Ordering::Acquire);
        report.check(format_args!("read {} where {} was", seen >> 8, (seen & 0xff) >> 1), seen == 0);
    }
    gather();
    report.result("taking it out", crate::hypercall::set_entry(memory().l4, 400, 0), 0);
    report.check(format_args!("the first table is free"), peek(l3s[0], 0) & P != 0);
}

fn send_on(vcpu: usize) {
    let mut random = Random::new(400 + vcpu as u64);
    while !stopping() {
        let mut send = EvtchnSend { port: random.below(40) as u32 };
        operation(nr::HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_SEND, &mut send);
    }
}

fn events(report: &mut Report) {
    give(send_on);
    let before = counters();
    for round in 0..ROUNDS {
        let vcpu = (round % 4) as u32;
        let mut bind = EvtchnBindIpi { vcpu, port: 0 };
        let result = operation(nr::HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_BIND_IPI, &mut bind);
        report.check(format_args!("a port for {vcpu}: {result}"), result == 0 || result == -2);
        if result == 0 {
            let mut calls = [MulticallEntry::default(); 2];
            let mut send = EvtchnSend { port: bind.port };
            let mut close = EvtchnClose { port: bind.port };
            calls[0] = crate::hypercall::entry(
                nr::HYPERVISOR_EVENT_CHANNEL_OP,
                [EVTCHNOP_SEND.into(), &raw mut send as u64],
            );
            calls[1] = crate::hypercall::entry(
                nr::HYPERVISOR_EVENT_CHANNEL_OP,
                [EVTCHNOP_CLOSE.into(), &raw mut close as u64],
            );
            report.result("the batch", crate::hypercall::multicall(&mut calls), 0);
            report.check(format_args!("closing gave {:#x}", calls[1].result), calls[1].result == 0);
        }
    }
    gather();
    let Some((before, after)) = before.zip(counters()) else { return };
    let since = after.since(&before);
    report.check(format_args!("{} calls", since.hypercalls), since.hypercalls > ROUNDS);
}
