//! Descriptors: which of them `update_descriptor` takes, and what it makes of them.

use paravane_abi::hypercall::HYPERVISOR_UPDATE_DESCRIPTOR;

use crate::case::{Case, Explained, because};
use crate::observe;
use pv_probe::hypercall::{code, raw};
use pv_probe::memory::{mfn, peek, take};

/// The case.
pub const CASE: Case = super::observation(
    "descriptors",
    "segment descriptors of all types, levels and flags, and what is kept of them",
    |_| {
        observe();
        Ok(())
    },
)
.explained(&[
    Explained { value: "present.10.*", reason: because::ACCESSED },
    Explained { value: "present.12.*", reason: because::ACCESSED },
    Explained { value: "present.14.*", reason: because::ACCESSED },
    Explained { value: "present.16.*", reason: because::ACCESSED },
    Explained { value: "present.18.*", reason: because::ACCESSED },
    Explained { value: "present.1a.*", reason: because::ACCESSED },
    Explained { value: "present.1c.*", reason: because::ACCESSED },
    Explained { value: "present.1e.*", reason: because::ACCESSED },
]);

/// A descriptor of this type (its S bit is bit 4), level and presence: base 0, limit 4 GiB.
const fn descriptor(kind: u64, level: u64, present: u64, flags: u64) -> u64 {
    0x000f_0000_0000_ffff | kind << 40 | level << 45 | present << 47 | flags << 52
}

fn update(frame: u64, descriptor: u64) -> i64 {
    raw(HYPERVISOR_UPDATE_DESCRIPTOR, [frame << 12 | 8, descriptor, 0, 0, 0])
}

/// `update_descriptor`, for a line: the answer, and the slot after it.
fn tried(frame: u64, value: u64) -> (pv_probe::hypercall::Code, u64) {
    update(frame, 0);
    (code(update(frame, value)), peek(frame, 1))
}

fn observe() {
    const FLAT: u64 = 0b1010;
    let frame = mfn(take());
    for kind in 0..32 {
        for level in 0..4 {
            for present in 0..2 {
                let (answer, now) = tried(frame, descriptor(kind, level, present, FLAT));
                let name = if present == 1 { "present" } else { "absent" };
                observe!(("{name}.{kind:02x}.dpl{level}"), "{answer}: {now:016x}");
            }
        }
    }
    for kind in [0x1b, 0x13] {
        for flags in 0..16 {
            let (answer, now) = tried(frame, descriptor(kind, 3, 1, flags));
            observe!(("flags.{kind:02x}.{flags:x}"), "{answer}: {now:016x}");
        }
    }
    for (name, value) in [
        ("base-high", descriptor(0x13, 3, 1, 0b1100) | 0xff00_00ff_ffff_0000),
        ("base-low", descriptor(0x13, 3, 1, 0b1100) | 0x0000_0000_1000_0000),
        ("limit-0", descriptor(0x13, 3, 1, 0b0100) & !0x000f_0000_0000_ffff),
        ("limit-page", (descriptor(0x13, 3, 1, 0b1100) & !0x000f_0000_0000_ffff) | 1),
        ("gate-call", 0x0000_ec00_e033_0000),
        ("gate-call-hypervisor", 0x8000_ec00_e008_0000),
        ("gate-interrupt", 0x0000_ee00_e033_0000),
        ("gate-trap", 0x0000_ef00_e033_0000),
        ("gate-task", 0x0000_e500_0000_0000),
        ("all-bits", u64::MAX),
        ("one", 1),
    ] {
        let (answer, now) = tried(frame, value);
        observe!(("{name}"), "{answer}: {now:016x}");
    }
}
