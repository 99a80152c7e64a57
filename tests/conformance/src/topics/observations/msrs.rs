//! Model-specific registers: what the kernel reads of each, and what becomes of writes.

use core::arch::asm;

use crate::case::{Case, Explained, because};
use crate::observe;
use pv_probe::guard::{RETURNED, guarded};

/// The case.
pub const CASE: Case =
    super::observation("msrs", "model-specific registers, read and written by the kernel", |_| {
        observe();
        Ok(())
    })
    .explained(&[
        Explained { value: "write.0000017a.*", reason: because::MACHINE_CHECKS },
        Explained { value: "read.000001a0", reason: because::EMULATOR },
        Explained { value: "write.000001a0.*", reason: because::EMULATOR },
        Explained { value: "read.c0010010", reason: because::PRIVILEGE },
        Explained { value: "read.c001001a", reason: because::PRIVILEGE },
        Explained { value: "read.c0010112", reason: because::PRIVILEGE },
        Explained { value: "write.c0010058.*", reason: because::PRIVILEGE },
    ]);

/// What is read and written.
const READ: &[u32] = &[
    0x17,
    0x1b,
    0x2a,
    0x2c,
    0x33,
    0x34,
    0x3a,
    0x48,
    0x49,
    0x79,
    0x8b,
    0xc1,
    0xcd,
    0xce,
    0xe2,
    0xfe,
    0x10a,
    0x10b,
    0x10f,
    0x119,
    0x11e,
    0x122,
    0x123,
    0x140,
    0x174,
    0x175,
    0x176,
    0x179,
    0x17a,
    0x17b,
    0x186,
    0x198,
    0x199,
    0x19a,
    0x19b,
    0x19c,
    0x1a0,
    0x1a2,
    0x1a6,
    0x1ad,
    0x1b0,
    0x1c8,
    0x1c9,
    0x1d9,
    0x1db,
    0x1f2,
    0x200,
    0x201,
    0x250,
    0x277,
    0x280,
    0x2ff,
    0x309,
    0x345,
    0x38d,
    0x38f,
    0x3f1,
    0x3f8,
    0x400,
    0x401,
    0x402,
    0x403,
    0x480,
    0x48b,
    0x491,
    0x560,
    0x570,
    0x600,
    0x606,
    0x610,
    0x64e,
    0x6a0,
    0x6a2,
    0x6e0,
    0x770,
    0x800,
    0x802,
    0x830,
    0xc80,
    0xd90,
    0xda0,
    0x4000_0000,
    0x4000_0001,
    0x4000_0002,
    0xc000_0080,
    0xc000_0081,
    0xc000_0082,
    0xc000_0083,
    0xc000_0084,
    0xc000_0100,
    0xc000_0101,
    0xc000_0102,
    0xc000_0103,
    0xc000_0104,
    0xc001_0000,
    0xc001_0004,
    0xc001_0010,
    0xc001_0015,
    0xc001_001a,
    0xc001_001f,
    0xc001_0022,
    0xc001_0055,
    0xc001_0058,
    0xc001_0061,
    0xc001_0062,
    0xc001_0063,
    0xc001_0064,
    0xc001_0071,
    0xc001_0111,
    0xc001_0112,
    0xc001_0114,
    0xc001_0117,
    0xc001_0140,
    0xc001_0141,
    0xc001_0200,
    0xc001_1004,
    0xc001_1019,
    0xc001_1020,
    0xc001_1022,
    0xc001_1023,
    0xc001_1027,
    0xc001_1029,
    0xc001_102a,
    0xc001_1030,
];

extern "C" fn read(number: u64) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: emulated; what it raises goes to the guard.
    unsafe { asm!("rdmsr", in("ecx") number as u32, out("eax") low, out("edx") high) };
    u64::from(high) << 32 | u64::from(low)
}

extern "C" fn write(request: &(u32, u64)) -> u64 {
    // SAFETY: emulated; nothing in this kernel depends on a register of the list.
    unsafe {
        asm!("wrmsr", in("ecx") request.0, in("eax") request.1 as u32, in("edx") (request.1 >> 32) as u32)
    };
    0
}

fn reading(number: u32) -> Option<u64> {
    // SAFETY: returns, or raises something.
    let caught = unsafe { guarded(read as *const () as u64, number.into()) };
    (caught.vector == RETURNED).then_some(caught.registers[0])
}

fn writing(number: u32, value: u64) -> &'static str {
    let request = (number, value);
    // SAFETY: as above.
    let caught = unsafe { guarded(write as *const () as u64, (&raw const request) as u64) };
    match caught.vector {
        RETURNED => "taken",
        13 => "#GP",
        _ => "another exception",
    }
}

fn observe() {
    for &number in READ {
        let before = reading(number);
        match before {
            Some(value) => observe!(("read.{number:08x}"), "{value:#x}"),
            None => observe!(("read.{number:08x}"), "#GP"),
        }
        let same = before.unwrap_or(0);
        for (name, value) in [("same", same), ("bit-0", same ^ 1), ("all", u64::MAX)] {
            // A page of stubs would be written.
            if number == 0x4000_0000 {
                continue;
            }
            let outcome = writing(number, value);
            let now = reading(number);
            let kept = now == before;
            observe!(("write.{number:08x}.{name}"), "{outcome}, unchanged {kept}");
            writing(number, before.unwrap_or(0));
        }
    }
}
