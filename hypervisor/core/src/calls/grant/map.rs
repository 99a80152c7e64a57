//! Mapping a grant and taking the mapping away.
//!
//! A mapping holds the frame by its L1 entry, and for devices by a reference of its own; the record of it, the
//! handle, holds a use of the granting domain's entry. No domain has devices behind an I/O MMU, so a mapping for
//! devices is no more than what is held, as on Xen without one.

use core::mem::offset_of;

use arrayvec::ArrayVec;
use paravane_abi::errno::Errno;
use paravane_abi::grant::*;
use zerocopy::{FromBytes, IntoBytes};

use super::{Answer, Call, ELEMENT_STEPS, Stop, advance, check_list, status_of};
use crate::addr::{DomainId, Mfn};
use crate::crash::Reason;
use crate::flush::Flush;
use crate::grant::{GrantError, Mapping, Pins};
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;
use crate::pagetable::{Budget, GrantPlace, Unmapped};

/// Mappings taken away between two flushes (Xen's number).
const UNMAP_BATCH: usize = 32;

/// Why a mapping was not taken away.
enum NotUnmapped {
    /// The status says it.
    Refused(GrantError),
    /// The granting domain is no more, and all its frames are free: the guest has lost the page-table entry.
    Lost(DomainId),
}

impl From<GrantError> for NotUnmapped {
    fn from(error: GrantError) -> Self {
        Self::Refused(error)
    }
}

/// A mapping to take away, by either operation.
struct UnmapRequest {
    handle: u32,
    host_addr: u64,
    dev_bus_addr: u64,
    new_addr: u64,
}

/// What is left to do for a mapping after the flush.
struct Unmapping {
    granter: usize,
    reference: u32,
    frame: Mfn,
    host: Option<Unmapped>,
    device: bool,
    readonly: bool,
}

/// The two operations that take mappings away: their requests.
pub(super) trait Unmap: FromBytes + IntoBytes {
    /// Where the status stands.
    const STATUS: usize;

    /// What is asked.
    fn request(&self) -> (u32, u64, u64, u64);
}

impl Unmap for GnttabUnmapGrantRef {
    const STATUS: usize = offset_of!(Self, status);

    fn request(&self) -> (u32, u64, u64, u64) {
        (self.handle, self.host_addr, self.dev_bus_addr, 0)
    }
}

impl Unmap for GnttabUnmapAndReplace {
    const STATUS: usize = offset_of!(Self, status);

    fn request(&self) -> (u32, u64, u64, u64) {
        (self.handle, self.host_addr, 0, self.new_addr)
    }
}

impl<M: Machine> Hypervisor<M> {
    /// `GNTTABOP_map_grant_ref`.
    pub(super) fn map_grants(&mut self, call: &mut Call<'_>) -> Answer {
        check_list(call.args[1])?;
        let mut budget = self.grant_budget(call);
        let mut first = true;
        while call.args[2] as u32 != 0 {
            if !first && budget.spent() {
                self.step = budget;
                return Err(Stop::AGAIN);
            }
            first = false;
            budget.charge(ELEMENT_STEPS);
            let pointer = call.args[1];
            let mut request: GnttabMapGrantRef = self.read_guest(pointer)?;
            self.check_writable(pointer, size_of::<GnttabMapGrantRef>() as u64)?;
            request.status = match self.map_grant(&request) {
                Ok((handle, frame)) => {
                    (request.handle, request.dev_bus_addr) = (handle, frame.address());
                    GNTST_OKAY
                }
                Err(error) => error.status(),
            };
            // What was mapped there before has been let go.
            self.look_for_last_unmap();
            self.write_guest(pointer, &request)?;
            advance::<GnttabMapGrantRef>(call);
        }
        self.step = budget;
        Ok(0)
    }

    /// Maps one grant; its handle and the frame.
    fn map_grant(&mut self, request: &GnttabMapGrantRef) -> Result<(u32, Mfn), GrantError> {
        let flags = request.flags;
        let (host, device) = (flags & GNTMAP_HOST_MAP != 0, flags & GNTMAP_DEVICE_MAP != 0);
        let readonly = flags & GNTMAP_READONLY != 0;
        let mut pins = Pins::NONE;
        if host {
            pins = pins.and(Pins::host(readonly));
        }
        if device {
            pins = pins.and(Pins::device(readonly));
        }
        if !pins.any() {
            return Err(GrantError::BadReference);
        }
        let granter = self.granter(request.dom)?;
        let local = self.current_domain();
        let Self { frames, machine, domains, .. } = self;
        domains[local].grants.reserve_mapping(frames, machine).map_err(|_| GrantError::NoSpace)?;
        let grantee = domains[local].id;
        let lender = &mut domains[granter].grants;
        let (id, incarnation) = (lender.domain(), lender.incarnation());
        let frame = lender.pin_for_map(frames, machine, request.reference, grantee, (pins, readonly))?;
        if let Err(error) = self.hold_grant(request, frame, id) {
            let lender = &mut self.domains[granter].grants;
            lender.unpin(&self.frames, &self.machine, request.reference, pins, readonly);
            return Err(error);
        }
        let mapping = Mapping { reference: request.reference, flags: flags as u16, domain: id, incarnation };
        let record = &mut self.domains[local].grants;
        // Room was made above.
        let handle =
            record.record_mapping(&self.frames, &self.machine, mapping).ok_or(GrantError::NoSpace)?;
        Ok((handle, frame))
    }

    /// Holds a frame for devices, and maps it for CPUs: both or neither.
    fn hold_grant(
        &mut self,
        request: &GnttabMapGrantRef,
        frame: Mfn,
        granter: DomainId,
    ) -> Result<(), GrantError> {
        let device = request.flags & GNTMAP_DEVICE_MAP != 0;
        let readonly = request.flags & GNTMAP_READONLY != 0;
        if device {
            self.frames.get_ref(frame, granter).map_err(|_| GrantError::General)?;
            if !readonly && self.frames.get_writable(&self.machine, frame).is_err() {
                self.frames.put_ref(&self.machine, frame);
                return Err(GrantError::General);
            }
        }
        if request.flags & GNTMAP_HOST_MAP != 0 {
            let place = GrantPlace::new(request.host_addr, request.flags);
            if self.paging(Budget::HYPERCALL).map_grant(place, frame, granter).is_err() {
                if device {
                    self.put_device_grant(frame, readonly);
                }
                return Err(GrantError::General);
            }
        } else if !self.frames.is_owned_by(frame, granter) {
            return Err(GrantError::General);
        }
        Ok(())
    }

    /// Gives back what a mapping for devices holds.
    pub(super) fn put_device_grant(&mut self, frame: Mfn, readonly: bool) {
        if !readonly {
            self.frames.put_writable(&self.machine, frame);
        }
        self.frames.put_ref(&self.machine, frame);
    }

    /// `GNTTABOP_unmap_grant_ref` and `GNTTABOP_unmap_and_replace`.
    pub(super) fn unmap_grants<T: Unmap>(&mut self, call: &mut Call<'_>) -> Answer {
        check_list(call.args[1])?;
        let mut budget = self.grant_budget(call);
        loop {
            if call.args[2] as u32 == 0 {
                self.step = budget;
                return Ok(0);
            }
            let mut done = ArrayVec::new();
            let end = self.unmap_some::<T>(call, &mut done, &mut budget);
            // The granting domains learn only now that their frames are theirs again.
            Flush::DOMAIN.discharge(&self.machine, self.domain().id);
            for unmapping in done {
                self.finish_unmapping(unmapping);
            }
            self.look_for_last_unmap();
            if let Err(stop) = end {
                return Err(self.end_unmapping(call, stop));
            }
            if call.args[2] as u32 != 0 && budget.spent() {
                self.step = budget;
                return Err(Stop::AGAIN);
            }
        }
    }

    /// Takes up to a batch of mappings away.
    fn unmap_some<T: Unmap>(
        &mut self,
        call: &mut Call<'_>,
        done: &mut ArrayVec<Unmapping, UNMAP_BATCH>,
        budget: &mut Budget,
    ) -> Result<(), Interrupted> {
        for _ in 0..UNMAP_BATCH {
            if call.args[2] as u32 == 0 {
                break;
            }
            budget.charge(ELEMENT_STEPS);
            let pointer = call.args[1];
            let request: T = self.read_guest(pointer)?;
            let place = pointer.wrapping_add(T::STATUS as u64);
            self.check_writable(place, size_of::<i16>() as u64)?;
            let (handle, host_addr, dev_bus_addr, new_addr) = request.request();
            let result = self.unmap_grant(&UnmapRequest { handle, host_addr, dev_bus_addr, new_addr });
            let status = match result {
                Ok(unmapping) => {
                    done.extend(unmapping);
                    Ok(())
                }
                Err(NotUnmapped::Refused(error)) => Err(error),
                Err(NotUnmapped::Lost(domain)) => return Err(Interrupted::Lost { domain, handle }),
            };
            self.write_guest(place, &status_of(status))?;
            advance::<T>(call);
        }
        Ok(())
    }

    /// Takes one mapping out of the tables and off the record. What it held is given back after the flush.
    fn unmap_grant(&mut self, request: &UnmapRequest) -> Result<Option<Unmapping>, NotUnmapped> {
        let local = self.current_domain();
        let mapping = self.domains[local].grants.mapping(&self.machine, request.handle);
        let mapping = mapping.ok_or(GrantError::BadHandle)?;
        let granter = self.granter_of(&mapping).ok_or(NotUnmapped::Lost(mapping.domain))?;
        let active = self.domains[granter].grants.in_use(&self.machine, mapping.reference);
        let frame = active.ok_or(GrantError::BadHandle)?.frame;
        let device = request.dev_bus_addr != 0 && mapping.device();
        if device && request.dev_bus_addr != frame.address() {
            return Err(GrantError::BadDevAddr.into());
        }
        let mut host = None;
        let mut halves = 0;
        if request.host_addr != 0 && mapping.host() {
            let place = GrantPlace::new(request.host_addr, mapping.flags.into());
            let unmapped = self.paging(Budget::HYPERCALL).unmap_grant(place, frame, request.new_addr);
            host = Some(unmapped.map_err(|_| GrantError::General)?);
            halves |= GNTMAP_HOST_MAP as u16;
        }
        if device {
            halves |= GNTMAP_DEVICE_MAP as u16;
        }
        if halves == 0 {
            return Ok(None);
        }
        self.domains[local].grants.clear_mapping(&self.frames, &self.machine, request.handle, halves);
        let (reference, readonly) = (mapping.reference, mapping.readonly());
        Ok(Some(Unmapping { granter, reference, frame, host, device, readonly }))
    }

    /// Where the domain of a mapping stands, if it is still the same one.
    pub(super) fn granter_of(&self, mapping: &Mapping) -> Option<usize> {
        self.domains.iter().position(|domain| domain.grants.incarnation() == mapping.incarnation)
    }

    fn finish_unmapping(&mut self, unmapping: Unmapping) {
        let Unmapping { granter, reference, frame, host, device, readonly } = unmapping;
        let mut pins = Pins::NONE;
        if let Some(host) = host {
            pins = pins.and(Pins::host(readonly));
            self.paging(Budget::HYPERCALL).put_unmapped(host);
        }
        if device {
            pins = pins.and(Pins::device(readonly));
            self.put_device_grant(frame, readonly);
        }
        let lender = &mut self.domains[granter].grants;
        lender.unpin(&self.frames, &self.machine, reference, pins, readonly);
    }

    /// How a batch that was interrupted ends.
    fn end_unmapping(&mut self, call: &mut Call<'_>, interrupted: Interrupted) -> Stop {
        match interrupted {
            Interrupted::Stop(stop) => stop,
            // Xen ends such a guest too.
            Interrupted::Lost { domain, handle } => {
                self.crash(call.regs, Reason::LostGrant { domain: domain.0, handle });
                Stop::REPLACED
            }
        }
    }
}

/// Why a batch did not come to its end.
enum Interrupted {
    Stop(Stop),
    Lost { domain: DomainId, handle: u32 },
}

impl From<Stop> for Interrupted {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl From<Errno> for Interrupted {
    fn from(error: Errno) -> Self {
        Self::Stop(error.into())
    }
}
