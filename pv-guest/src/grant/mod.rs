//! Grants: lending this domain's frames to others, and using those that others lend.
//!
//! An entry of the table is written so that the hypervisor never sees half of one: the flags, which make it valid, last.

pub mod foreign;

use core::fmt;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

use paravane_abi::grant::{
    GNTST_OKAY, GNTTAB_NR_RESERVED_ENTRIES, GNTTABOP_GET_STATUS_FRAMES, GNTTABOP_SET_VERSION,
    GNTTABOP_SETUP_TABLE, GTF_INVALID, GTF_PERMIT_ACCESS, GTF_READING, GTF_READONLY, GTF_WRITING,
    GnttabGetStatusFrames, GnttabSetVersion, GnttabSetupTable, GrantEntryV1, GrantEntryV2, GrantStatus,
};
use paravane_abi::mmu::DOMID_SELF;

use crate::cpu_ops::hypercall::{check, grant_table_op};
use crate::mm::addr::{Mfn, PAGE, Pfn};
use crate::mm::place::Place;

/// Frames of the table.
const FRAMES: usize = 2;

#[unsafe(link_section = ".bss.page")]
static TABLE: Place<FRAMES> = Place::new();
#[unsafe(link_section = ".bss.page")]
static STATUS: Place<1> = Place::new();

/// What went wrong, in words, and the number that says it.
#[derive(Clone, Copy)]
pub struct Failed(pub &'static str, pub i64);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0, self.1)
    }
}

/// A grant table call on a list of arguments.
fn call<T>(what: &'static str, command: u32, list: &mut [T]) -> Result<(), Failed> {
    // SAFETY: each caller passes the command's own structs, which live until the call returns.
    let result = unsafe { grant_table_op(command, list.as_mut_ptr().cast(), list.len() as u32) };
    check(result).map(drop).map_err(|refused| Failed(what, refused.0))
}

/// A status as a result.
fn okay(what: &'static str, status: i16) -> Result<(), Failed> {
    if status == GNTST_OKAY { Ok(()) } else { Err(Failed(what, i64::from(status))) }
}

/// The number of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gref(pub u32);

/// This domain's table.
pub struct Table {
    version: u32,
    next: u32,
}

impl Table {
    /// Takes the table into use, in a version: 1 or 2. Grants are numbered from the first that is not reserved on.
    pub fn open(version: u32) -> Result<Self, Failed> {
        let mut wanted = [GnttabSetVersion { version }];
        call("set_version", GNTTABOP_SET_VERSION, &mut wanted)?;
        let mut frames = [0u64; FRAMES];
        let mut setup = [GnttabSetupTable {
            dom: DOMID_SELF,
            nr_frames: FRAMES as u32,
            frame_list: &raw mut frames as u64,
            ..GnttabSetupTable::default()
        }];
        call("setup_table", GNTTABOP_SETUP_TABLE, &mut setup)?;
        okay("setup_table", setup[0].status)?;
        for (index, mfn) in frames.into_iter().enumerate() {
            TABLE.map(index, Mfn(mfn), true).map_err(|refused| Failed("mapping the table", refused.0))?;
        }
        if version == 2 {
            Self::open_status()?;
        }
        Ok(Self { version, next: GNTTAB_NR_RESERVED_ENTRIES })
    }

    fn open_status() -> Result<(), Failed> {
        let mut frame = 0u64;
        let mut request = [GnttabGetStatusFrames {
            nr_frames: 1,
            dom: DOMID_SELF,
            frame_list: &raw mut frame as u64,
            ..GnttabGetStatusFrames::default()
        }];
        call("get_status_frames", GNTTABOP_GET_STATUS_FRAMES, &mut request)?;
        okay("get_status_frames", request[0].status)?;
        STATUS.map(0, Mfn(frame), false).map_err(|refused| Failed("mapping the status", refused.0))
    }

    fn entry(&self, gref: Gref) -> u64 {
        let size = if self.version == 2 { size_of::<GrantEntryV2>() } else { size_of::<GrantEntryV1>() };
        let offset = gref.0 as usize * size;
        assert!(offset < FRAMES * PAGE as usize, "grant {} of a small table", gref.0);
        TABLE.page(0) + offset as u64
    }

    /// Flags are the first field in both versions.
    fn flags(&self, gref: Gref) -> &'static AtomicU16 {
        // SAFETY: the entry is mapped for good, and accessed atomically by both sides.
        unsafe { AtomicU16::from_ptr(self.entry(gref) as *mut u16) }
    }

    /// Lends a frame to a domain.
    pub fn lend(&mut self, domid: u16, pfn: Pfn, writable: bool) -> Gref {
        let gref = Gref(self.next);
        self.next += 1;
        let at = self.entry(gref);
        let mfn = pfn.mfn().0;
        // SAFETY: this entry is not valid yet, so nobody else looks at it; both layouts have the domain at 2, the
        // frame at 4 (32 bits) or 8 (64 bits).
        unsafe {
            AtomicU16::from_ptr((at + 2) as *mut u16).store(domid, Ordering::Relaxed);
            if self.version == 2 {
                AtomicU64::from_ptr((at + 8) as *mut u64).store(mfn, Ordering::Relaxed);
            } else {
                AtomicU32::from_ptr((at + 4) as *mut u32).store(mfn as u32, Ordering::Relaxed);
            }
        }
        let flags = GTF_PERMIT_ACCESS | if writable { 0 } else { GTF_READONLY };
        self.flags(gref).store(flags, Ordering::Release);
        gref
    }

    /// Ends a loan; false while the other domain uses the frame.
    pub fn end(&self, gref: Gref) -> bool {
        let flags = self.flags(gref);
        if self.version == 2 {
            flags.store(GTF_INVALID, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            let at = STATUS.page(0) + u64::from(gref.0) * size_of::<GrantStatus>() as u64;
            // SAFETY: the status array is mapped for good, and the hypervisor writes it atomically.
            let status = unsafe { AtomicU16::from_ptr(at as *mut u16) }.load(Ordering::SeqCst);
            return status & (GTF_READING | GTF_WRITING) == 0;
        }
        let old = flags.load(Ordering::Relaxed);
        let unused = old & !(GTF_READING | GTF_WRITING);
        flags.compare_exchange(unused, GTF_INVALID, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }
}
