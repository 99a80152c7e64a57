//! Advisories on grants. A domain may map what it lends itself, so one domain is enough.

use core::cell::UnsafeCell;

use paravane_abi::event::{EVTCHNOP_STATUS, EvtchnStatus};
use paravane_abi::grant::{
    GNTMAP_CONTAINS_PTE, GNTMAP_DEVICE_MAP, GNTMAP_HOST_MAP, GNTMAP_READONLY, GNTTABOP_MAP_GRANT_REF,
    GNTTABOP_SETUP_TABLE, GNTTABOP_UNMAP_GRANT_REF, GnttabMapGrantRef, GnttabSetupTable, GnttabUnmapGrantRef,
};
use paravane_abi::hypercall as nr;
use paravane_abi::memory::{MemoryReservation, XENMEM_DECREASE_RESERVATION};
use paravane_abi::mmu::DOMID_SELF;

use super::{Report, Row};
use crate::hypercall::{map, operation, raw};
use crate::memory::{KERNEL, NX, P, PAGE, Page, READ, WINDOW, memory, peek, take};

/// See the module.
pub const ROWS: &[Row] = &[
    Row {
        name: "xsa-224",
        reason: "mappings for a device and for the host were counted as one, and let go as two",
        run: xsa_224,
    },
    Row {
        name: "xsa-227",
        reason: "the address of a page-table entry that is not the address of one",
        run: xsa_227,
    },
    Row { name: "xsa-228", reason: "two takers of one free handle", run: xsa_228 },
    Row {
        name: "xsa-234",
        reason: "unmapping by an entry that maps the same frame with other rights",
        run: xsa_234,
    },
    Row {
        name: "xsa-236",
        reason: "an entry published before its frame is held, and taken back while it is mapped",
        run: xsa_236,
    },
];

#[unsafe(link_section = ".bss.page")]
static TABLE: Page = Page::new();

/// Flags of an entry: access allowed; read, written by somebody.
const ACCESS: u64 = 1;
const IN_USE: u64 = 3 << 3;

struct Id(UnsafeCell<Option<u64>>);

// SAFETY: vcpu 0 alone uses it.
unsafe impl Sync for Id {}

static ID: Id = Id(UnsafeCell::new(None));

/// This domain's number, which nobody tells it: the one whose ports it may ask about.
fn own_id() -> u64 {
    // SAFETY: vcpu 0 alone comes here.
    let known = unsafe { &mut *ID.0.get() };
    *known.get_or_insert_with(|| {
        (0..64)
            .find(|id| {
                let mut status = EvtchnStatus { dom: *id as u16, port: 0, ..EvtchnStatus::default() };
                let result = operation(nr::HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_STATUS, &mut status);
                result == 0 || result == -22
            })
            .unwrap_or(0)
    })
}

/// Shows the grant table.
fn show(report: &mut Report) {
    let mut frame = 0u64;
    let mut setup = GnttabSetupTable {
        dom: DOMID_SELF,
        nr_frames: 1,
        frame_list: &raw mut frame as u64,
        ..GnttabSetupTable::default()
    };
    let pointer = &raw mut setup as u64;
    let result = raw(nr::HYPERVISOR_GRANT_TABLE_OP, [GNTTABOP_SETUP_TABLE.into(), pointer, 1, 0, 0]);
    report.result("the table", result, 0);
    report.result("its status", setup.status.into(), 0);
    report.result("a view of it", map(TABLE.address(), frame << 12 | KERNEL | NX), 0);
}

fn entry(index: usize) -> *mut u64 {
    // SAFETY: within the page.
    unsafe { TABLE.0.get().cast::<u64>().add(index) }
}

/// Lends a frame to this domain itself.
fn lend(index: usize, frame: u64) {
    // SAFETY: the page shows the grant table.
    unsafe { entry(index).write_volatile(ACCESS | own_id() << 16 | frame << 32) };
}

fn flags(index: usize) -> u64 {
    // SAFETY: as above.
    unsafe { entry(index).read_volatile() & 0xffff }
}

fn map_grant(index: u32, flags: u32, host_addr: u64) -> (i64, u32) {
    let mut request = GnttabMapGrantRef {
        host_addr,
        flags,
        reference: index,
        dom: own_id() as u16,
        status: 1,
        ..GnttabMapGrantRef::default()
    };
    let pointer = &raw mut request as u64;
    let result = raw(nr::HYPERVISOR_GRANT_TABLE_OP, [GNTTABOP_MAP_GRANT_REF.into(), pointer, 1, 0, 0]);
    (if result < 0 { result } else { request.status.into() }, request.handle)
}

fn unmap_grant(handle: u32, host_addr: u64, dev_bus_addr: u64) -> i64 {
    let mut request =
        GnttabUnmapGrantRef { host_addr, dev_bus_addr, handle, status: 1, ..GnttabUnmapGrantRef::default() };
    let pointer = &raw mut request as u64;
    let result = raw(nr::HYPERVISOR_GRANT_TABLE_OP, [GNTTABOP_UNMAP_GRANT_REF.into(), pointer, 1, 0, 0]);
    if result < 0 { result } else { request.status.into() }
}

fn xsa_224(report: &mut Report) {
    show(report);
    let frame = take();
    for host_flags in [GNTMAP_HOST_MAP, GNTMAP_HOST_MAP | GNTMAP_READONLY] {
        for device in [0, GNTMAP_DEVICE_MAP] {
            lend(8, frame);
            let (status, handle) = map_grant(8, host_flags | device, WINDOW);
            if status != 0 {
                report.check(
                    format_args!("{device}: refused, {status}, and not in use"),
                    flags(8) & IN_USE == 0,
                );
                continue;
            }
            report.check(format_args!("in use: {:#x}", flags(8)), flags(8) & IN_USE != 0);
            if device != 0 {
                report.result("the host's half", unmap_grant(handle, WINDOW, 0), 0);
                report.check(format_args!("the device's half: {:#x}", flags(8)), flags(8) & IN_USE != 0);
                report.result("the device's half", unmap_grant(handle, 0, frame << 12), 0);
            } else {
                report.result("unmapping", unmap_grant(handle, WINDOW, 0), 0);
            }
            report.check(format_args!("in use afterwards: {:#x}", flags(8)), flags(8) & IN_USE == 0);
            report.refused("unmapping twice", unmap_grant(handle, WINDOW, frame << 12));
            report.check(format_args!("still mapped"), peek(memory().window, 0) & P == 0);
        }
    }
}

fn xsa_227(report: &mut Report) {
    show(report);
    let frame = take();
    lend(9, frame);
    let table = memory().window << 12;
    for offset in 1..8 {
        let (status, _) = map_grant(9, GNTMAP_HOST_MAP | GNTMAP_CONTAINS_PTE, table + 16 + offset);
        report.refused("between two entries", status);
    }
    for address in [memory().l4 << 12 | 300 << 3, frame << 12, 0, u64::MAX, 0xb8000, memory().shared << 12] {
        let (status, _) = map_grant(9, GNTMAP_HOST_MAP | GNTMAP_CONTAINS_PTE, address);
        report.refused("an entry that is not an L1's", status);
    }
    for index in 0..6 {
        report.check(
            format_args!("entry {index}: {:#x}", peek(memory().window, index)),
            peek(memory().window, index) == 0,
        );
    }
    report.check(format_args!("in use: {:#x}", flags(9)), flags(9) & IN_USE == 0);
}

fn xsa_228(report: &mut Report) {
    const MANY: usize = 40;
    show(report);
    let frame = take();
    lend(10, frame);
    for round in 0..8 {
        let mut handles = [u32::MAX; MANY];
        for index in 0..MANY {
            let (status, handle) = map_grant(10, GNTMAP_HOST_MAP, WINDOW + index as u64 * PAGE);
            report.result("mapping", status, 0);
            report.check(format_args!("handle {handle} is given twice"), !handles[..index].contains(&handle));
            handles[index] = handle;
        }
        // In another order each time.
        for step in 0..MANY {
            let index = (step * (2 * round + 1) * 3 + round) % MANY;
            let status = unmap_grant(handles[index], WINDOW + index as u64 * PAGE, 0);
            report.check(
                format_args!("unmapping {index}: {status}"),
                status == 0 || handles[index] == u32::MAX || status == -4,
            );
        }
        for (index, handle) in handles.iter().enumerate() {
            unmap_grant(*handle, WINDOW + index as u64 * PAGE, 0);
        }
        report.check(format_args!("in use: {:#x}", flags(10)), flags(10) & IN_USE == 0);
    }
}

fn xsa_234(report: &mut Report) {
    show(report);
    let frame = take();
    lend(11, frame);
    // A mapping of one's own with the right to write, and a grant without it, of the same frame.
    report.result("one's own", map(WINDOW + PAGE, frame << 12 | KERNEL), 0);
    let (status, handle) = map_grant(11, GNTMAP_HOST_MAP | GNTMAP_READONLY, WINDOW);
    report.result("the grant", status, 0);
    report.refused("unmapping by one's own entry", unmap_grant(handle, WINDOW + PAGE, 0));
    report.check(format_args!("one's own is gone"), peek(memory().window, 1) & P != 0);
    report.refused("unmapping by no entry", unmap_grant(handle, WINDOW + 2 * PAGE, 0));
    report.result("unmapping", unmap_grant(handle, WINDOW, 0), 0);
    report.result("one's own", map(WINDOW + PAGE, 0), 0);
}

fn xsa_236(report: &mut Report) {
    show(report);
    for round in 0..4 {
        let frame = take();
        lend(12, frame);
        let (status, handle) = map_grant(12, GNTMAP_HOST_MAP, WINDOW);
        report.result("mapping", status, 0);
        // The entry is taken back, or lends another frame, while it is mapped; the frame is given back too.
        // SAFETY: the page shows the grant table.
        unsafe {
            entry(12).write_volatile(if round % 2 == 0 { 0 } else { ACCESS | own_id() << 16 | take() << 32 })
        };
        let mut list = frame;
        let mut request = MemoryReservation {
            extent_start: &raw mut list as u64,
            nr_extents: 1,
            domid: DOMID_SELF,
            ..MemoryReservation::default()
        };
        let done = operation(nr::HYPERVISOR_MEMORY_OP, XENMEM_DECREASE_RESERVATION, &mut request);
        report.check(format_args!("giving the frame back: {done}"), (0..=1).contains(&done));
        let entry = peek(memory().window, 0);
        report.check(
            format_args!("the mapping leads elsewhere: {entry:#x}"),
            entry >> 12 & 0xff_ffff_ffff == frame,
        );
        report.result("unmapping", unmap_grant(handle, WINDOW, 0), 0);
        if done == 1 {
            report.refused("it is this domain's no more", map(WINDOW, frame << 12 | READ));
        }
    }
}
