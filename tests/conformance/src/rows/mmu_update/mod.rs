//! `mmu_update(requests, count, done, domains)`, call 1 (xen/include/public/xen.h, `struct mmu_update`).
//!
//! The first argument is an array of pairs: a machine address, whose lowest three bits are a command, and a value. They are
//! done in order until one is refused; the third argument, unless it is null, is the address of a number that receives how
//! many were done. A call that takes long is interrupted, and goes on by itself. The last argument names two domains: in its
//! low half the owner of the frames that entries name (`DOMID_SELF`, or another's number), in its high half the owner of the
//! tables (0 for the caller, or one more than a number).
//!
//! Refused: an array that cannot be read (`EFAULT`); a command that there is not (`ENOSYS`); a domain that there is not, and
//! the caller's own number (`ESRCH`); domains that the caller has no power over (`EPERM`).

mod machphys_update;
mod normal_pt_update;
mod pt_update_no_translate;
mod pt_update_preserve_ad;

use core::cell::UnsafeCell;

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_MMU_UPDATE;
use paravane_abi::mmu::{
    DOMID_IO, DOMID_SELF, DOMID_XEN, MMU_MACHPHYS_UPDATE, MMU_NORMAL_PT_UPDATE, MmuUpdate,
};
use pv_probe::hypercall::raw;
use pv_probe::memory::{DATA, PAGE, peek};

use super::tables::{Mapped, entry, frame, own_number, places, slot};
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The call's rows.
pub const ROWS: &[&Row] = &[
    &ROW,
    &normal_pt_update::ROW,
    &machphys_update::ROW,
    &pt_update_preserve_ad::ROW,
    &pt_update_no_translate::ROW,
];

/// What the call does besides its commands.
const ROW: Row = Row::call(
    "mmu_update",
    &[
        Case::good("count", "the number of requests done is told", count),
        Case::good("no-count", "nobody need ask for the number", no_count),
        Case::good(
            "count-unwritable",
            "a number that cannot be stored is lost, not refused",
            count_unwritable,
        ),
        Case::good("nothing", "no requests are no error, wherever they would be", nothing),
        Case::good("long", "thousands of requests are done by one call, and counted", long),
        Case::good("own-tables", "the caller's own number names the owner of its tables", own_tables),
        Case::refusal("pointers", "arrays that cannot be read", unreadable),
        Case::refusal("nothing-nowhere", "no requests, where no guest has memory", nowhere),
        Case::refusal("end-unreadable", "what can be read is done, up to where it cannot", end_unreadable),
        Case::refusal("end-of-space", "an array that goes on where no addresses are", end_of_space),
        Case::refusal("stops", "the first refusal ends the call: what stands before is done", stops),
        Case::refusal("unknown", "commands that there are not", unknown),
        Case::refusal("nobody", "domains that there are not", nobody),
        Case::refusal("own-frames", "the caller's own number as the owner of the frames", own_frames),
        Case::refusal("hypervisor", "the hypervisor as the owner of the frames", hypervisor),
        Case::refusal("devices", "a page of the caller's named as one of a device", devices),
        Case::refusal("long-stops", "a refusal behind thousands of requests is counted exactly", long_stops),
    ],
);

/// Requests with a count and domains.
fn update(requests: &[MmuUpdate], domains: u32) -> (i64, u32) {
    let mut done = u32::MAX;
    let arguments =
        [requests.as_ptr() as u64, requests.len() as u64, &raw mut done as u64, domains.into(), 0];
    (raw(HYPERVISOR_MMU_UPDATE, arguments), done)
}

/// Requests about the caller alone.
fn own(requests: &[MmuUpdate]) -> (i64, u32) {
    update(requests, DOMID_SELF.into())
}

/// A request to write a word.
const fn normal(frame: u64, index: u64, value: u64) -> MmuUpdate {
    MmuUpdate::new(frame << 12 | index << 3, MMU_NORMAL_PT_UPDATE, value)
}

const LONG: usize = 6000;

struct Requests(UnsafeCell<[MmuUpdate; LONG]>);

// SAFETY: there is one vcpu.
unsafe impl Sync for Requests {}

static REQUESTS: Requests = Requests(UnsafeCell::new([MmuUpdate { ptr: 0, val: 0 }; LONG]));

/// Many requests, which map and unmap a page in turn.
fn many(target: u64) -> &'static mut [MmuUpdate; LONG] {
    // SAFETY: one case at a time calls this.
    let requests = unsafe { &mut *REQUESTS.0.get() };
    let l1 = places();
    for (index, request) in requests.iter_mut().enumerate() {
        let value = if index % 2 == 0 { entry(target, DATA) } else { 0 };
        *request = normal(l1, 9, value);
    }
    requests
}

fn count(t: &mut Trial) -> Verdict {
    let frame = frame();
    let requests = [0, 1, 2].map(|index| normal(frame, index, 0x1000 + index));
    for count in 1..=3 {
        let (result, done) = own(&requests[..count]);
        t.succeeds(format_args!("{count}"), result);
        t.equal(format_args!("{count}.done"), done.into(), count as u64);
    }
    for index in 0..3 {
        t.equal(format_args!("word.{index}"), peek(frame, index), 0x1000 + index as u64);
    }
    Ok(())
}

fn no_count(t: &mut Trial) -> Verdict {
    let frame = frame();
    let request = normal(frame, 7, 0x7777);
    let arguments = [&raw const request as u64, 1, 0, DOMID_SELF.into(), 0];
    t.succeeds("call", raw(HYPERVISOR_MMU_UPDATE, arguments));
    t.equal("word", peek(frame, 7), 0x7777);
    Ok(())
}

fn count_unwritable(t: &mut Trial) -> Verdict {
    let frame = frame();
    for (name, address) in pointers::UNUSABLE {
        let request = normal(frame, 7, address);
        let arguments = [&raw const request as u64, 1, address, DOMID_SELF.into(), 0];
        t.succeeds(name, raw(HYPERVISOR_MMU_UPDATE, arguments));
        t.equal(format_args!("{name}.word"), peek(frame, 7), address);
    }
    Ok(())
}

fn nothing(t: &mut Trial) -> Verdict {
    for (name, address) in [("null", 0), ("nothing", pointers::NOTHING)] {
        let mut done = 77u32;
        let arguments = [address, 0, &raw mut done as u64, DOMID_SELF.into(), 0];
        t.succeeds(name, raw(HYPERVISOR_MMU_UPDATE, arguments));
        t.equal(format_args!("{name}.done"), done.into(), 0);
    }
    Ok(())
}

fn long(t: &mut Trial) -> Verdict {
    let target = frame();
    let (result, done) = own(many(target));
    t.succeeds("call", result);
    t.equal("done", done.into(), LONG as u64);
    t.equal("entry", slot(places(), 9), 0);
    t.succeeds("one-less", own(&many(target)[..LONG - 1]).0);
    t.equal("frame", slot(places(), 9) >> 12 & 0xff_ffff_ffff ^ target, 0);
    own(&[normal(places(), 9, 0)]);
    Ok(())
}

fn own_tables(t: &mut Trial) -> Verdict {
    let frame = frame();
    let domains = (u32::from(own_number(t)?) + 1) << 16 | u32::from(DOMID_SELF);
    let (result, done) = update(&[normal(frame, 3, 0x3333)], domains);
    t.succeeds("call", result);
    t.equal("done", done.into(), 1);
    t.equal("word", peek(frame, 3), 0x3333);
    Ok(())
}

fn unreadable(t: &mut Trial) -> Verdict {
    for (name, address) in pointers::UNUSABLE.into_iter().chain([("null", 0)]) {
        let arguments = [address, 1, 0, DOMID_SELF.into(), 0];
        t.refused(name, Errno::EFAULT, || raw(HYPERVISOR_MMU_UPDATE, arguments));
    }
    Ok(())
}

fn nowhere(t: &mut Trial) -> Verdict {
    for (name, address) in [("hypervisor", pointers::HYPERVISOR), ("not-canonical", pointers::NOT_CANONICAL)]
    {
        let mut done = 77u32;
        let arguments = [address, 0, &raw mut done as u64, DOMID_SELF.into(), 0];
        t.refused(name, Errno::EFAULT, || raw(HYPERVISOR_MMU_UPDATE, arguments));
        t.equal(format_args!("{name}.done"), done.into(), 77);
    }
    Ok(())
}

fn end_unreadable(t: &mut Trial) -> Verdict {
    let target = frame();
    let page = Mapped::new(0, frame());
    let last = page.address() + PAGE - size_of::<MmuUpdate>() as u64;
    // SAFETY: within the page; behind it nothing is mapped.
    unsafe { (last as *mut MmuUpdate).write(normal(target, 0, 0x1234)) };
    let mut done = 77u32;
    let arguments = [last, 2, &raw mut done as u64, DOMID_SELF.into(), 0];
    t.refused("call", Errno::EFAULT, || raw(HYPERVISOR_MMU_UPDATE, arguments));
    t.equal("done", done.into(), 1);
    t.equal("word", peek(target, 0), 0x1234);
    Ok(())
}

fn end_of_space(t: &mut Trial) -> Verdict {
    let target = frame();
    // The last page of the lower half.
    let va = pointers::NOT_CANONICAL - PAGE;
    pv_probe::memory::l1_for(va);
    t.need("map", pv_probe::hypercall::map(va, entry(super::tables::frame(), DATA)))?;
    let last = va + PAGE - size_of::<MmuUpdate>() as u64;
    // SAFETY: the case's page.
    unsafe { (last as *mut MmuUpdate).write(normal(target, 0, 0x1234)) };
    for (name, count) in [("next", 2), ("huge", 0x7fff_ffff)] {
        let mut done = 77u32;
        let arguments = [last, count, &raw mut done as u64, DOMID_SELF.into(), 0];
        t.fails(name, raw(HYPERVISOR_MMU_UPDATE, arguments), Errno::EFAULT);
        t.equal(format_args!("{name}.done"), done.into(), 1);
        t.equal(format_args!("{name}.word"), peek(target, 0), 0x1234);
        pv_probe::memory::poke(target, 0, 0);
    }
    t.need("unmap", pv_probe::hypercall::map(va, 0))
}

fn stops(t: &mut Trial) -> Verdict {
    let frame = frame();
    let requests = [
        normal(frame, 0, 0x10),
        normal(frame, 1, 0x11),
        normal(pointers::NO_FRAME, 0, 0),
        normal(frame, 3, 0x13),
    ];
    let mut done = 0;
    t.refused("call", Errno::EINVAL, || {
        let (result, count) = own(&requests);
        done = count;
        result
    });
    t.equal("done", done.into(), 2);
    for (index, want) in [0x10, 0x11, 0, 0].into_iter().enumerate() {
        t.equal(format_args!("word.{index}"), peek(frame, index), want);
    }
    Ok(())
}

fn unknown(t: &mut Trial) -> Verdict {
    let frame = frame();
    for command in 4..8 {
        let request = MmuUpdate { ptr: frame << 12 | command, val: 0x1234 };
        t.refused(format_args!("{command}"), Errno::ENOSYS, || own(&[request]).0);
    }
    t.equal("word", peek(frame, 0), 0);
    Ok(())
}

fn nobody(t: &mut Trial) -> Verdict {
    let frame = frame();
    let request = [normal(frame, 0, 0x1234)];
    for (name, domains) in [
        ("frames", 7777),
        ("frames-nothing", 7777),
        ("reserved", 0x7ff5),
        ("tables", 7778 << 16 | u32::from(DOMID_SELF)),
    ] {
        let requests = if name == "frames-nothing" { &request[..0] } else { &request };
        t.refused(name, Errno::ESRCH, || update(requests, domains).0);
    }
    t.equal("word", peek(frame, 0), 0);
    Ok(())
}

fn own_frames(t: &mut Trial) -> Verdict {
    let request = [normal(frame(), 0, 0x1234)];
    let number = own_number(t)?;
    t.refused("call", Errno::ESRCH, || update(&request, number.into()).0);
    Ok(())
}

fn hypervisor(t: &mut Trial) -> Verdict {
    let frame = frame();
    for (name, request) in [
        ("entry", normal(frame, 0, 0x1234)),
        ("machphys", MmuUpdate::new(frame << 12, MMU_MACHPHYS_UPDATE, 0)),
    ] {
        t.refused(name, Errno::EPERM, || update(&[request], DOMID_XEN.into()).0);
    }
    // Whose the frames are is asked for each request.
    let (result, done) = update(&[], DOMID_XEN.into());
    t.succeeds("nothing", result);
    t.equal("nothing.done", done.into(), 0);
    Ok(())
}

fn devices(t: &mut Trial) -> Verdict {
    let (l1, frame) = (places(), frame());
    t.refused("entry", Errno::EBUSY, || update(&[normal(l1, 9, entry(frame, DATA))], DOMID_IO.into()).0);
    t.refused("machphys", Errno::EINVAL, || {
        update(&[MmuUpdate::new(frame << 12, MMU_MACHPHYS_UPDATE, 0)], DOMID_IO.into()).0
    });
    Ok(())
}

fn long_stops(t: &mut Trial) -> Verdict {
    let requests = many(frame());
    requests[LONG - 2] = normal(pointers::NO_FRAME, 0, 0);
    let mut done = 0;
    t.refused("call", Errno::EINVAL, || {
        let (result, count) = own(requests);
        done = count;
        result
    });
    t.equal("done", done.into(), LONG as u64 - 2);
    Ok(())
}
