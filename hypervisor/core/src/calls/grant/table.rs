//! The table itself: its frames, its size, its version.

use core::mem::offset_of;

use paravane_abi::errno::Errno;
use paravane_abi::grant::*;

use super::{Answer, Call, ELEMENT_STEPS, Stop, check_list, status_of};
use crate::addr::{ENTRIES, Mfn};
use crate::grant::{GrantError, Version};
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;
use crate::pagetable::Budget;

impl<M: Machine> Hypervisor<M> {
    /// `GNTTABOP_setup_table`. The table grows a few frames a step.
    pub(super) fn setup_grant_table(&mut self, pointer: u64, count: u32, call: &mut Call<'_>) -> Answer {
        if count != 1 {
            return Err(Errno::EINVAL.into());
        }
        let request: GnttabSetupTable = self.read_guest(pointer)?;
        check_list(request.frame_list)?;
        self.check_writable(pointer, size_of::<GnttabSetupTable>() as u64)?;
        let mut budget = self.grant_budget(call);
        let grown = match self.own_table(request.dom) {
            Ok(index) => self.grow_grant_table(index, request.nr_frames, &mut budget),
            Err(error) => Ok(Err(error)),
        };
        self.step = budget;
        let status = grown?.and_then(|()| {
            let wanted = request.nr_frames as usize;
            self.list_frames(request.frame_list, &self.domain().grants.shared()[..wanted])
        });
        self.store_field(pointer, offset_of!(GnttabSetupTable, status), &status_of(status))
    }

    /// Makes the table at least so large, or says why it can't be; a step that is spent comes first.
    fn grow_grant_table(
        &mut self,
        index: usize,
        wanted: u32,
        budget: &mut Budget,
    ) -> Result<Result<(), GrantError>, Stop> {
        let Self { frames, machine, domains, .. } = self;
        let grants = &mut domains[index].grants;
        if wanted > grants.limits().frames || frames.free_frames() < grants.growth_to(wanted) {
            return Ok(Err(GrantError::General));
        }
        let mut first = true;
        while (grants.shared().len() as u32) < wanted {
            if !first && budget.spent() {
                return Err(Stop::AGAIN);
            }
            first = false;
            budget.charge(grants.growth_to(grants.shared().len() as u32 + 1) as u32 * ENTRIES as u32);
            if grants.grow(frames, machine).is_err() {
                return Ok(Err(GrantError::General));
            }
        }
        Ok(Ok(()))
    }

    /// Writes a list of frames; all that can be.
    fn list_frames(&self, list: u64, frames: &[Mfn]) -> Result<(), GrantError> {
        let mut end = Ok(());
        for (n, frame) in frames.iter().enumerate() {
            if self.write_guest(list.wrapping_add(8 * n as u64), &frame.get()).is_err() {
                end = Err(GrantError::BadVirtAddr);
            }
        }
        end
    }

    /// `GNTTABOP_query_size`.
    pub(super) fn query_grant_table(&mut self, pointer: u64, count: u32) -> Answer {
        if count != 1 {
            return Err(Errno::EINVAL.into());
        }
        let mut request: GnttabQuerySize = self.read_guest(pointer)?;
        let status = self.own_table(request.dom).map(|index| {
            let grants = &self.domains[index].grants;
            request.nr_frames = grants.shared().len() as u32;
            request.max_nr_frames = grants.limits().frames;
        });
        request.status = status_of(status);
        self.write_guest(pointer, &request)?;
        Ok(0)
    }

    /// `GNTTABOP_set_version`. The version there is afterwards is told, whatever the answer.
    pub(super) fn set_grant_version(&mut self, pointer: u64, call: &mut Call<'_>) -> Answer {
        let request: GnttabSetVersion = self.read_guest(pointer)?;
        self.check_writable(pointer, size_of::<GnttabSetVersion>() as u64)?;
        let mut budget = self.grant_budget(call);
        let index = self.current_domain();
        let Self { frames, machine, domains, .. } = self;
        let grants = &mut domains[index].grants;
        let changed = match request.version {
            1 => grants.set_version(Version::V1, frames, machine),
            2 => grants.set_version(Version::V2, frames, machine),
            _ => Err(Errno::EINVAL),
        };
        budget.charge(ELEMENT_STEPS + (grants.shared().len() * ENTRIES) as u32);
        self.step = budget;
        let version = self.domain().grants.version() as u32;
        self.write_guest(pointer, &GnttabSetVersion { version })?;
        changed?;
        Ok(0)
    }

    /// `GNTTABOP_get_version`.
    pub(super) fn get_grant_version(&mut self, pointer: u64) -> Answer {
        let request: GnttabGetVersion = self.read_guest(pointer)?;
        let index = self.any_domain(request.dom).ok_or(Errno::ESRCH)?;
        if index != self.current_domain() {
            return Err(Errno::EPERM.into());
        }
        let version = self.domains[index].grants.version() as u32;
        self.store_field(pointer, offset_of!(GnttabGetVersion, version), &version)
    }

    /// `GNTTABOP_get_status_frames`.
    pub(super) fn get_grant_status_frames(&mut self, pointer: u64, count: u32) -> Answer {
        if count != 1 {
            return Err(Errno::EINVAL.into());
        }
        let request: GnttabGetStatusFrames = self.read_guest(pointer)?;
        check_list(request.frame_list)?;
        let status = self.own_table(request.dom).and_then(|index| {
            let frames = self.domains[index].grants.status();
            let wanted = frames.get(..request.nr_frames as usize).ok_or(GrantError::General)?;
            self.list_frames(request.frame_list, wanted)
        });
        self.store_field(pointer, offset_of!(GnttabGetStatusFrames, status), &status_of(status))
    }

    /// One `GNTTABOP_swap_grant_ref`.
    pub(super) fn swap_grants(&mut self, a: u32, b: u32) -> Result<(), GrantError> {
        self.domain().grants.swap(&self.frames, &self.machine, (a, b))
    }
}
