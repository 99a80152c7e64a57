//! xen_version: who answers, and what it can do.

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::xen_version::VersionCommand;
use paravane_abi::version::*;
use paravane_abi::vm_assist::VMASST_TYPE_PAE_EXTENDED_CR3;
use zerocopy::FromZeros;

use super::{Answer, Call};
use crate::addr::{PAGE_SIZE, RESERVED_START};
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;

/// The interface spoken: Xen 4.17.
const VERSION: u64 = 4 << 16 | 17;

/// What every PV guest is told of submap 0. Bit 11 (the hardware domain's) is nobody's here.
const FEATURES: u32 = 1 << XENFEAT_MMU_PT_UPDATE_PRESERVE_AD
    | 1 << XENFEAT_HIGHMEM_ASSIST
    | 1 << XENFEAT_GNTTAB_MAP_AVAIL_BITS
    | 1 << XENFEAT_MEMORY_OP_VNODE_SUPPORTED
    | 1 << XENFEAT_DIRECT_MAPPED;

/// Copies text into a fixed field; the field's last byte stays zero.
fn text<const N: usize>(from: &str) -> [u8; N] {
    let mut to = [0; N];
    let length = from.len().min(N - 1);
    to[..length].copy_from_slice(&from.as_bytes()[..length]);
    to
}

impl<M: Machine> Hypervisor<M> {
    /// `xen_version`.
    #[inline]
    pub(super) fn xen_version(&mut self, call: &mut Call<'_>) -> Answer {
        // The common case is the null call, made to take pending events.
        if call.args[0] as u32 == XENVER_VERSION {
            return Ok(VERSION);
        }
        self.describe(call.args[0] as u32, call.args[1])
    }

    #[inline(never)]
    fn describe(&mut self, command: u32, pointer: u64) -> Answer {
        match VersionCommand::from_number(command).ok_or(Errno::ENOSYS)? {
            VersionCommand::Version => return Ok(VERSION),
            VersionCommand::Extraversion => self.write_guest(pointer, &text::<16>(".0-paravane"))?,
            VersionCommand::CompileInfoGet => {
                let mut info = CompileInfo::new_zeroed();
                info.compiler = text("rustc");
                info.compile_by = text("paravane");
                info.compile_domain = text("");
                info.compile_date = text(env!("CARGO_PKG_VERSION"));
                self.write_guest(pointer, &info)?;
            }
            VersionCommand::Capabilities => self.write_guest(pointer, &text::<1024>("xen-3.0-x86_64 "))?,
            VersionCommand::Changeset => self.write_guest(pointer, &text::<64>("unavailable"))?,
            VersionCommand::PlatformParametersGet => self.write_guest(pointer, &RESERVED_START)?,
            VersionCommand::GetFeatures => {
                let mut info: FeatureInfo = self.read_guest(pointer)?;
                if info.submap_idx >= XENFEAT_NR_SUBMAPS {
                    return Err(Errno::EINVAL.into());
                }
                let extended_cr3 = self.domain().vm_assist & 1 << VMASST_TYPE_PAE_EXTENDED_CR3 != 0;
                info.submap = FEATURES | u32::from(extended_cr3) << XENFEAT_PAE_PGDIR_ABOVE_4GB;
                self.write_guest(pointer, &info)?;
            }
            VersionCommand::Pagesize if pointer != 0 => return Err(Errno::EINVAL.into()),
            VersionCommand::Pagesize => return Ok(PAGE_SIZE as u64),
            VersionCommand::GuestHandle => self.write_guest(pointer, &[0u8; 16])?,
            // Neither is a guest's business: Xen's text for who may not read it, and no build note here.
            VersionCommand::Commandline => self.write_guest(pointer, b"<denied>\0")?,
            VersionCommand::BuildId => return Err(Errno::EPERM.into()),
        }
        Ok(0)
    }
}
