//! The start-of-day page (`xen/xen.h`): what a PV guest finds at the virtual address in RSI when it starts.

use crate::macros::{xen_constants, xen_structs, zeroed_default};
use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

xen_constants! {
    /// The domain is privileged.
    pub const SIF_PRIVILEGED: u32 = 1 << 0;
    /// The domain is the initial control domain.
    pub const SIF_INITDOMAIN: u32 = 1 << 1;
    /// `mod_start` is a list of multiboot modules.
    pub const SIF_MULTIBOOT_MOD: u32 = 1 << 2;
    /// `mod_start` is a pfn, not a virtual address.
    pub const SIF_MOD_START_PFN: u32 = 1 << 3;
    /// Tools understand a p2m mapped linearly, so the three-level tree is obsolete.
    pub const SIF_VIRT_P2M_4TOOLS: u32 = 1 << 4;
    /// Options for power management, one byte.
    pub const SIF_PM_MASK: u32 = 0xff << 8;
    /// Size of [`StartInfo::cmd_line`], in bytes, with its final NUL.
    pub const MAX_GUEST_CMDLINE: usize = 1024;
}

bitflags! {
    /// [`StartInfo::flags`] as a set.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct StartFlags: u32 {
        /// [`SIF_PRIVILEGED`].
        const PRIVILEGED = SIF_PRIVILEGED;
        /// [`SIF_INITDOMAIN`].
        const INITDOMAIN = SIF_INITDOMAIN;
        /// [`SIF_MULTIBOOT_MOD`].
        const MULTIBOOT_MOD = SIF_MULTIBOOT_MOD;
        /// [`SIF_MOD_START_PFN`].
        const MOD_START_PFN = SIF_MOD_START_PFN;
        /// [`SIF_VIRT_P2M_4TOOLS`].
        const VIRT_P2M_4TOOLS = SIF_VIRT_P2M_4TOOLS;
        /// [`SIF_PM_MASK`].
        const PM_MASK = SIF_PM_MASK;
    }
}

/// What [`StartInfo::magic`] holds on x86-64, followed by NULs.
pub const MAGIC: &[u8; 14] = b"xen-3.0-x86_64";

/// The start-of-day page: 1168 bytes, Xen's `struct start_info`.
///
/// The fields up to `console_evtchn` are filled in at boot and on resume, the others at boot only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct StartInfo {
    /// [`MAGIC`], NUL padded.
    pub magic: [u8; 32],
    /// Pages (4096 bytes) allocated to this domain.
    pub nr_pages: u64,
    /// Machine address of the shared-info page.
    pub shared_info: u64,
    /// `SIF_*`; see [`StartInfo::start_flags`].
    pub flags: u32,
    /// Padding.
    pub pad0: u32,
    /// mfn of the xenstore ring's page, or 0.
    pub store_mfn: u64,
    /// xenstore's event-channel port, or 0.
    pub store_evtchn: u32,
    /// Padding.
    pub pad1: u32,
    /// mfn of the console ring's page (the union's `domU` half).
    pub console_mfn: u64,
    /// The console's event-channel port.
    pub console_evtchn: u32,
    /// Padding.
    pub pad2: u32,
    /// Virtual address of the L4 table.
    pub pt_base: u64,
    /// Number of frames the initial page tables take.
    pub nr_pt_frames: u64,
    /// Virtual address of the p2m, an array of `nr_pages` mfns (u64).
    pub mfn_list: u64,
    /// Virtual address of the first module (ramdisk), or its pfn under [`SIF_MOD_START_PFN`].
    pub mod_start: u64,
    /// Size of the module in bytes; 0 when there is none.
    pub mod_len: u64,
    /// Command line, NUL terminated.
    pub cmd_line: [u8; MAX_GUEST_CMDLINE],
    /// First pfn of the p2m when it lies outside the initial mapping (`XEN_ELFNOTE_INIT_P2M`), its page tables
    /// included.
    pub first_p2m_pfn: u64,
    /// Number of those pfns.
    pub nr_p2m_frames: u64,
}

zeroed_default!(StartInfo);

impl StartInfo {
    /// A zeroed page with the magic filled in.
    pub fn new() -> Self {
        let mut info = Self::default();
        info.magic[..MAGIC.len()].copy_from_slice(MAGIC);
        info
    }

    /// Whether the magic names a PV interface, of any version, as guests check it.
    pub fn has_magic(&self) -> bool {
        self.magic.starts_with(b"xen-")
    }

    /// The flags, unknown bits kept.
    pub const fn start_flags(&self) -> StartFlags {
        StartFlags::from_bits_retain(self.flags)
    }

    /// The command line up to its NUL.
    pub fn command_line(&self) -> &[u8] {
        let end = self.cmd_line.iter().position(|&byte| byte == 0).unwrap_or(MAX_GUEST_CMDLINE);
        &self.cmd_line[..end]
    }

    /// Sets the command line, cut to 1023 bytes. Returns whether all of it fitted.
    pub fn set_command_line(&mut self, line: &[u8]) -> bool {
        let len = line.len().min(MAX_GUEST_CMDLINE - 1);
        self.cmd_line = [0; MAX_GUEST_CMDLINE];
        self.cmd_line[..len].copy_from_slice(&line[..len]);
        len == line.len()
    }

    /// The console union's `dom0` half, valid under [`SIF_INITDOMAIN`]: offset and size, in bytes, of the VGA console's
    /// description within this page.
    pub const fn dom0_console(&self) -> (u32, u32) {
        (self.console_mfn as u32, (self.console_mfn >> 32) as u32)
    }
}

/// A module of a domain started with several, by `SIF_MULTIBOOT_MOD`: 16 bytes, addresses physical.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct MultibootModList {
    /// First byte.
    pub mod_start: u32,
    /// Last byte.
    pub mod_end: u32,
    /// Command line, ended by a NUL.
    pub cmdline: u32,
    /// Zero.
    pub pad: u32,
}

xen_structs! {
    "struct xen_multiboot_mod_list" = MultibootModList { mod_start, mod_end, cmdline, pad }
    "struct start_info" = StartInfo {
        magic, nr_pages, shared_info, flags, store_mfn, store_evtchn, console_mfn = "console.domU.mfn",
        console_evtchn = "console.domU.evtchn", pt_base, nr_pt_frames, mfn_list, mod_start, mod_len, cmd_line,
        first_p2m_pfn, nr_p2m_frames,
    } pad { pad0, pad1, pad2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_cut_and_terminated() {
        let mut info = StartInfo::new();
        assert!(info.has_magic());
        assert!(info.set_command_line(b"console=hvc0"));
        assert_eq!(info.command_line(), b"console=hvc0");
        assert!(!info.set_command_line(&[b'x'; 2000]));
        assert_eq!(info.command_line().len(), 1023);
        assert_eq!(info.cmd_line[1023], 0);
        assert!(info.set_command_line(b""));
        assert_eq!(info.command_line(), b"");
    }

    #[test]
    fn flags_keep_unknown_bits() {
        let info = StartInfo { flags: SIF_MOD_START_PFN | 1 << 30, ..StartInfo::new() };
        assert!(info.start_flags().contains(StartFlags::MOD_START_PFN));
        assert_eq!(info.start_flags().bits(), info.flags);
    }

    #[test]
    fn dom0_console_overlays_the_mfn() {
        let info = StartInfo { console_mfn: 0x0000_0020_0000_0490, ..StartInfo::new() };
        assert_eq!(info.dom0_console(), (0x490, 0x20));
    }
}
