//! The shared page (xen/include/public/xen.h, `struct shared_info`): where things lie, told by what the hypervisor does.
//!
//! 32 times 64 bytes of `vcpu_info`, 512 bytes of pending bits, 512 of mask bits, the wall clock, and the architecture's part,
//! which the guest fills for the tools. All 32 vcpus begin with events masked.

use core::mem::offset_of;

use paravane_abi::shared_info::SharedInfo;
use paravane_abi::trap::vector;
use pv_probe::boot::start;
use pv_probe::hypercall::yield_now;
use pv_probe::memory::{PAGE, m2p, shared};

use crate::case::{Case, Row, Verdict};
use crate::code;
use crate::code::kernel;
use crate::topics::port::Port;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "shared-info",
    &[
        Case::good("masked", "events of all 32 vcpus are masked", masked),
        Case::good("pending-place", "pending bits lie at 2048", pending),
        Case::good("mask-place", "mask bits lie at 2560", mask),
        Case::good("selector-place", "the selector lies at 8, the pending flag at 0", selector),
        Case::good("fault-address-place", "the address of a page fault lies at 16", fault_address),
        Case::good("time-place", "the clock lies at 32", time),
        Case::good("wall-clock-place", "the wall clock lies at 3072", wall_clock),
        Case::good(
            "architecture-place",
            "the guest's own fields lie at 3088, and are left alone",
            architecture,
        ),
        Case::good("rest", "nothing lies behind", rest),
        Case::good("frame", "the page is none of the guest's memory", frame),
    ],
);

fn byte(offset: usize) -> *mut u8 {
    assert!(offset < PAGE as usize);
    shared().cast::<u8>().wrapping_add(offset)
}

fn read(offset: usize) -> u8 {
    // SAFETY: a byte of the shared page.
    unsafe { byte(offset).read_volatile() }
}

fn word(offset: usize) -> u64 {
    // SAFETY: an aligned word of the shared page.
    unsafe { byte(offset).cast::<u64>().read_volatile() }
}

fn masked(t: &mut Trial) -> Verdict {
    t.equal("vcpus", (0..32).filter(|vcpu| read(vcpu * 64 + 1) == 1).count() as u64, 32);
    Ok(())
}

fn pending(t: &mut Trial) -> Verdict {
    let port = Port::bind()?;
    let (place, bit) = (2048 + port.number() as usize / 8, 1u8 << (port.number() % 8));
    t.equal("before", (read(place) & bit).into(), 0);
    t.need("send", port.send())?;
    t.equal("after", (read(place) & bit).into(), bit.into());
    Ok(())
}

fn mask(t: &mut Trial) -> Verdict {
    let port = Port::bind()?;
    let (place, bit) = (2560 + port.number() as usize / 8, 1u8 << (port.number() % 8));
    // SAFETY: a byte of the shared page; no other port of it changes meanwhile.
    unsafe { byte(place).write_volatile(read(place) | bit) };
    port.clear();
    t.need("send", port.send())?;
    let flag = read(0);
    // SAFETY: as above.
    unsafe { byte(place).write_volatile(read(place) & !bit) };
    t.equal("upcall-pending", flag.into(), 0);
    t.same("pending", port.is_pending(), true);
    Ok(())
}

fn selector(t: &mut Trial) -> Verdict {
    let port = Port::bind()?;
    port.clear();
    t.need("send", port.send())?;
    t.equal("flag", read(0).into(), 1);
    let bit = 1u64 << (port.number() / 64);
    t.equal("selector", word(8) & bit, bit);
    Ok(())
}

fn fault_address(t: &mut Trial) -> Verdict {
    let came = kernel(code!("mov al, [rdi]"), 0x7654_3210);
    t.raises("fault", &came.caught, vector::PF.into(), Some(0));
    t.equal("address", word(16), 0x7654_3210);
    Ok(())
}

fn time(t: &mut Trial) -> Verdict {
    let clock = crate::topics::clock::read();
    t.holds("stamp", clock.tsc_timestamp != 0);
    t.holds("multiplier", word(32 + 24) as u32 == clock.tsc_to_system_mul && clock.tsc_to_system_mul != 0);
    t.equal("place", offset_of!(SharedInfo, evtchn_pending) as u64, 32 * 64);
    Ok(())
}

fn wall_clock(t: &mut Trial) -> Verdict {
    t.equal("odd", word(3072) & 1, 0);
    t.holds("seconds", word(3072) >> 32 > 1_704_067_200);
    t.equal("high", word(3080) >> 32, 0);
    Ok(())
}

fn architecture(t: &mut Trial) -> Verdict {
    for field in 0..6usize {
        let place = byte(3088 + field * 8).cast::<u64>();
        // SAFETY: a word of the shared page that is the guest's.
        let before = unsafe { place.read_volatile() };
        // SAFETY: as above.
        unsafe { place.write_volatile(0x1000 + field as u64) };
        (0..5).for_each(|_| yield_now());
        // SAFETY: as above.
        let after = unsafe { place.read_volatile() };
        // SAFETY: as above.
        unsafe { place.write_volatile(before) };
        t.equal(format_args!("{field}"), after, 0x1000 + field as u64);
    }
    Ok(())
}

fn rest(t: &mut Trial) -> Verdict {
    t.equal(
        "bytes",
        (size_of::<SharedInfo>()..PAGE as usize).filter(|&offset| read(offset) != 0).count() as u64,
        0,
    );
    t.equal("size", size_of::<SharedInfo>() as u64, 3136);
    Ok(())
}

fn frame(t: &mut Trial) -> Verdict {
    let address = start().info.shared_info;
    t.equal("offset", address % PAGE, 0);
    t.equal("machine-to-physical", m2p(address / PAGE), u64::MAX);
    Ok(())
}
