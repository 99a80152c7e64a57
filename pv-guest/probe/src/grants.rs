//! The grant table, version 1: one frame of it.

use core::sync::atomic::{AtomicBool, Ordering, fence};

use paravane_abi::grant::{
    GNTMAP_HOST_MAP, GNTTABOP_MAP_GRANT_REF, GNTTABOP_SETUP_TABLE, GNTTABOP_UNMAP_GRANT_REF,
    GTF_PERMIT_ACCESS, GTF_READONLY, GnttabMapGrantRef, GnttabSetupTable, GnttabUnmapGrantRef, GrantEntryV1,
};
use paravane_abi::mmu::DOMID_SELF;

use crate::hypercall::{grant_operations, map};
use crate::memory::{DATA, NX, PAGE, WINDOW, l1_for};

/// Where the table's first frame is mapped.
pub const TABLE: u64 = WINDOW + 0x1000_0000;

/// The first reference that nobody reserves (xen/include/public/grant_table.h).
pub const FIRST: u32 = 8;

/// Entries of the frame.
pub const ENTRIES: u32 = (PAGE / 8) as u32;

static MAPPED: AtomicBool = AtomicBool::new(false);

/// Maps the table's first frame, if that is still to do.
pub fn prepare() {
    if MAPPED.swap(true, Ordering::Relaxed) {
        return;
    }
    let mut frames = [0u64; 1];
    let mut setup = GnttabSetupTable {
        dom: DOMID_SELF,
        nr_frames: 1,
        frame_list: frames.as_mut_ptr() as u64,
        ..Default::default()
    };
    let result = grant_operations(GNTTABOP_SETUP_TABLE, core::slice::from_mut(&mut setup));
    assert!(result == 0 && setup.status == 0, "the grant table: {result}, status {}", setup.status);
    l1_for(TABLE);
    let result = map(TABLE, frames[0] << 12 | DATA | NX);
    assert!(result == 0, "mapping the grant table: {result}");
}

/// Whether [`prepare`] was called.
pub fn is_prepared() -> bool {
    MAPPED.load(Ordering::Relaxed)
}

fn entry(reference: u32) -> *mut GrantEntryV1 {
    assert!(reference < ENTRIES && is_prepared());
    (TABLE + u64::from(reference) * size_of::<GrantEntryV1>() as u64) as *mut GrantEntryV1
}

/// Reads an entry.
pub fn read(reference: u32) -> GrantEntryV1 {
    // SAFETY: within the mapped frame; the hypervisor may change its flags meanwhile.
    unsafe { entry(reference).read_volatile() }
}

/// Writes an entry, its flags last, as they are what makes it valid.
pub fn write(reference: u32, value: GrantEntryV1) {
    let entry = entry(reference);
    // SAFETY: within the mapped frame, and the fields are aligned.
    unsafe {
        (&raw mut (*entry).flags).write_volatile(0);
        fence(Ordering::SeqCst);
        (&raw mut (*entry).domid).write_volatile(value.domid);
        (&raw mut (*entry).frame).write_volatile(value.frame);
        fence(Ordering::SeqCst);
        (&raw mut (*entry).flags).write_volatile(value.flags);
    }
}

/// Lends a machine frame to a domain.
pub fn permit(reference: u32, domid: u16, frame: u64, read_only: bool) {
    let flags = if read_only { GTF_PERMIT_ACCESS | GTF_READONLY } else { GTF_PERMIT_ACCESS };
    write(reference, GrantEntryV1 { flags, domid, frame: frame as u32 });
}

/// Ends a loan; false while the other domain still maps the frame.
pub fn revoke(reference: u32) -> bool {
    if read(reference).flags & !(GTF_PERMIT_ACCESS | GTF_READONLY) != 0 {
        return false;
    }
    write(reference, GrantEntryV1 { flags: 0, domid: 0, frame: 0 });
    true
}

/// Maps a lent frame at an address whose table exists: the operation as the hypervisor left it.
pub fn map_reference(domid: u16, reference: u32, address: u64, flags: u32) -> GnttabMapGrantRef {
    let mut request = GnttabMapGrantRef {
        host_addr: address,
        flags: GNTMAP_HOST_MAP | flags,
        reference,
        dom: domid,
        ..Default::default()
    };
    let result = grant_operations(GNTTABOP_MAP_GRANT_REF, core::slice::from_mut(&mut request));
    assert!(result == 0, "map_grant_ref: {result}");
    request
}

/// Undoes a mapping: the status.
pub fn unmap(handle: u32, address: u64) -> i16 {
    let mut request = GnttabUnmapGrantRef { host_addr: address, handle, ..Default::default() };
    let result = grant_operations(GNTTABOP_UNMAP_GRANT_REF, core::slice::from_mut(&mut request));
    assert!(result == 0, "unmap_grant_ref: {result}");
    request.status
}
