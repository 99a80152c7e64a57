//! Version and features: `xen_version` (`xen/version.h`, `xen/features.h`).

use crate::macros::{xen_constants, xen_structs, zeroed_default};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use crate::hypercall::xen_version::*;

xen_constants! {
    /// Page tables need no write protection. Never on Xen since 3.
    pub const XENFEAT_WRITABLE_PAGE_TABLES: u32 = 0 => XENFEAT_writable_page_tables;
    /// Descriptor tables need no write protection.
    pub const XENFEAT_WRITABLE_DESCRIPTOR_TABLES: u32 = 1 => XENFEAT_writable_descriptor_tables;
    /// The hypervisor translates pfns: not a PV paging guest.
    pub const XENFEAT_AUTO_TRANSLATED_PHYSMAP: u32 = 2 => XENFEAT_auto_translated_physmap;
    /// The guest kernel runs in ring 0.
    pub const XENFEAT_SUPERVISOR_MODE_KERNEL: u32 = 3 => XENFEAT_supervisor_mode_kernel;
    /// 32-bit top-level tables may lie above 4 GiB.
    pub const XENFEAT_PAE_PGDIR_ABOVE_4GB: u32 = 4 => XENFEAT_pae_pgdir_above_4gb;
    /// `MMU_PT_UPDATE_PRESERVE_AD` exists.
    pub const XENFEAT_MMU_PT_UPDATE_PRESERVE_AD: u32 = 5 => XENFEAT_mmu_pt_update_preserve_ad;
    /// `MMUEXT_CLEAR_PAGE` and `MMUEXT_COPY_PAGE` exist.
    pub const XENFEAT_HIGHMEM_ASSIST: u32 = 6 => XENFEAT_highmem_assist;
    /// Grant mappings honour the guest's own bits of an entry.
    pub const XENFEAT_GNTTAB_MAP_AVAIL_BITS: u32 = 7 => XENFEAT_gnttab_map_avail_bits;
    /// HVM: callback by vector.
    pub const XENFEAT_HVM_CALLBACK_VECTOR: u32 = 8 => XENFEAT_hvm_callback_vector;
    /// HVM: the clock is safe.
    pub const XENFEAT_HVM_SAFE_PVCLOCK: u32 = 9 => XENFEAT_hvm_safe_pvclock;
    /// HVM: device interrupts as events.
    pub const XENFEAT_HVM_PIRQS: u32 = 10 => XENFEAT_hvm_pirqs;
    /// The domain can be, or is, the initial one.
    pub const XENFEAT_DOM0: u32 = 11 => XENFEAT_dom0;
    /// Memory operations take virtual nodes.
    pub const XENFEAT_MEMORY_OP_VNODE_SUPPORTED: u32 = 13 => XENFEAT_memory_op_vnode_supported;
    /// ARM's calling convention.
    pub const XENFEAT_ARM_SMCCC_SUPPORTED: u32 = 14 => XENFEAT_ARM_SMCCC_supported;
    /// ACPI's RSDP may lie anywhere.
    pub const XENFEAT_LINUX_RSDP_UNRESTRICTED: u32 = 15 => XENFEAT_linux_rsdp_unrestricted;
    /// pfns differ from mfns.
    pub const XENFEAT_NOT_DIRECT_MAPPED: u32 = 16 => XENFEAT_not_direct_mapped;
    /// pfns are mfns.
    pub const XENFEAT_DIRECT_MAPPED: u32 = 17 => XENFEAT_direct_mapped;
    /// Number of 32-bit feature words.
    pub const XENFEAT_NR_SUBMAPS: u32 = 1;
}

/// What [`XENVER_VERSION`] gives for a version.
pub const fn version(major: u16, minor: u16) -> u32 {
    (major as u32) << 16 | minor as u32
}

/// Answer to [`XENVER_EXTRAVERSION`]: NUL terminated.
pub type Extraversion = [u8; 16];
/// Answer to [`XENVER_CAPABILITIES`]: NUL terminated, interfaces separated by spaces.
pub type CapabilitiesInfo = [u8; 1024];
/// Answer to [`XENVER_CHANGESET`]: NUL terminated.
pub type ChangesetInfo = [u8; 64];
/// Answer to [`XENVER_GUEST_HANDLE`]: a UUID.
pub type DomainHandle = [u8; 16];
/// Answer to [`XENVER_COMMANDLINE`]: NUL terminated.
pub type Commandline = [u8; 1024];

/// Answer to [`XENVER_COMPILE_INFO`]: 144 bytes, all NUL terminated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct CompileInfo {
    /// Compiler.
    pub compiler: [u8; 64],
    /// Who compiled.
    pub compile_by: [u8; 16],
    /// Where.
    pub compile_domain: [u8; 32],
    /// When.
    pub compile_date: [u8; 32],
}

zeroed_default!(CompileInfo);

/// Answer to [`XENVER_PLATFORM_PARAMETERS`]: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PlatformParameters {
    /// First address of the reserved range.
    pub virt_start: u64,
}

/// Argument of [`XENVER_GET_FEATURES`]: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct FeatureInfo {
    /// Which 32 features: 0.
    pub submap_idx: u32,
    /// Out: a bit for each.
    pub submap: u32,
}

/// Argument of [`XENVER_BUILD_ID`]: 4 bytes, which the identifier follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BuildIdHeader {
    /// Room after the header, in bytes.
    pub len: u32,
}

xen_structs! {
    "struct xen_compile_info" = CompileInfo { compiler, compile_by, compile_domain, compile_date }
    "struct xen_platform_parameters" = PlatformParameters { virt_start }
    "struct xen_feature_info" = FeatureInfo { submap_idx, submap }
    "struct xen_build_id" = BuildIdHeader { len }
}
