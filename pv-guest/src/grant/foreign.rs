//! Frames that another domain lends.

use paravane_abi::grant::{
    GNTCOPY_SOURCE_GREF, GNTMAP_HOST_MAP, GNTMAP_READONLY, GNTTABOP_COPY, GNTTABOP_MAP_GRANT_REF,
    GNTTABOP_UNMAP_GRANT_REF, GnttabCopy, GnttabCopyPtr, GnttabMapGrantRef, GnttabUnmapGrantRef,
};
use paravane_abi::mmu::DOMID_SELF;

use super::{Failed, Gref, call, okay};
use crate::mm::addr::{PAGE, Pfn};

/// Most copies in one call.
pub const MAX_COPIES: usize = 16;

/// A frame of another domain's, mapped.
pub struct Mapped {
    address: u64,
    handle: u32,
}

impl Mapped {
    /// Maps a frame that a domain lends, at an address of this kernel's that maps nothing.
    pub fn new(domid: u16, gref: Gref, address: u64, writable: bool) -> Result<Self, Failed> {
        let flags = GNTMAP_HOST_MAP | if writable { 0 } else { GNTMAP_READONLY };
        let mut request = [GnttabMapGrantRef {
            host_addr: address,
            flags,
            reference: gref.0,
            dom: domid,
            ..GnttabMapGrantRef::default()
        }];
        call("map_grant_ref", GNTTABOP_MAP_GRANT_REF, &mut request)?;
        okay("map_grant_ref", request[0].status)?;
        Ok(Self { address, handle: request[0].handle })
    }

    /// Where it is.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Takes it away.
    pub fn unmap(self) -> Result<(), Failed> {
        let mut request = [GnttabUnmapGrantRef {
            host_addr: self.address,
            handle: self.handle,
            ..GnttabUnmapGrantRef::default()
        }];
        call("unmap_grant_ref", GNTTABOP_UNMAP_GRANT_REF, &mut request)?;
        okay("unmap_grant_ref", request[0].status)
    }
}

/// Copies whole frames that a domain lends to frames of this domain's, as many as there are pairs.
pub fn copy(domid: u16, pairs: impl Iterator<Item = (Gref, Pfn)>) -> Result<(), Failed> {
    let mut requests: arrayvec::ArrayVec<GnttabCopy, MAX_COPIES> = pairs
        .map(|(gref, pfn)| GnttabCopy {
            source: GnttabCopyPtr { u: u64::from(gref.0), domid, ..GnttabCopyPtr::default() },
            dest: GnttabCopyPtr { u: pfn.mfn().0, domid: DOMID_SELF, ..GnttabCopyPtr::default() },
            len: PAGE as u16,
            flags: GNTCOPY_SOURCE_GREF,
            ..GnttabCopy::default()
        })
        .collect();
    call("copy", GNTTABOP_COPY, &mut requests)?;
    requests.iter().try_for_each(|request| okay("copy", request.status))
}
