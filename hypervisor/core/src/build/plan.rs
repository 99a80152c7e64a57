//! From boot modules to domains ready to be filled.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::bundle::{self, BundleError};
use super::devicetree::{self, ConfigError, DomainConfig, MachineKind};
use super::elf::{ElfError, KernelImage};
use super::layout::{Layout, LayoutError};
use super::pc::{PcError, PcLayout, PcSource, PcStart};
use super::populate::{Filling, Identity, Populate, RingPorts, Source, StartOfDay};
use crate::addr::Mfn;
use crate::boot::Module;

/// Why a domain, or all of them, cannot be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// No boot modules at all.
    NoModules,
    /// The bundle is damaged.
    Bundle(BundleError),
    /// The device tree is, or says something impossible.
    Config(ConfigError),
    /// A domain's kernel is refused.
    Kernel(String, ElfError),
    /// A domain's kernel does not fit it.
    Layout(String, LayoutError),
    /// The device tree asks for ring 1, and the kernel cannot run there.
    NoRing1(String),
    /// The device tree asks for a PC, and the kernel does not fit one.
    Pc(String, PcError),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoModules => write!(f, "no boot modules: nothing says what to build"),
            Self::Bundle(error) => error.fmt(f),
            Self::Config(error) => error.fmt(f),
            Self::Kernel(name, error) => write!(f, "domain `{name}`: {error}"),
            Self::Layout(name, error) => write!(f, "domain `{name}`: {error}"),
            Self::Pc(name, error) => write!(f, "domain `{name}`: {error}"),
            Self::NoRing1(name) => {
                write!(f, "domain `{name}`: its kernel has no note that says it can run in ring 1")
            }
        }
    }
}

impl core::error::Error for BuildError {}

impl From<BundleError> for BuildError {
    fn from(error: BundleError) -> Self {
        Self::Bundle(error)
    }
}

impl From<ConfigError> for BuildError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

/// Where everything in a domain lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrangement {
    /// As a paravirtual kernel expects it.
    Pv(Layout),
    /// As a PC's kernel does.
    Pc(PcLayout),
}

/// Where a domain's first vcpu starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A paravirtual kernel's.
    Pv(StartOfDay),
    /// A PC's.
    Pc(PcStart),
}

impl Arrangement {
    /// A paravirtual kernel's.
    pub const fn pv(&self) -> Option<&Layout> {
        match self {
            Self::Pv(layout) => Some(layout),
            Self::Pc(_) => None,
        }
    }

    /// A PC's.
    pub const fn pc(&self) -> Option<&PcLayout> {
        match self {
            Self::Pc(layout) => Some(layout),
            Self::Pv(_) => None,
        }
    }
}

impl Start {
    /// A paravirtual kernel's.
    pub const fn pv(&self) -> Option<&StartOfDay> {
        match self {
            Self::Pv(start) => Some(start),
            Self::Pc(_) => None,
        }
    }
}

/// A domain of which everything is decided and nothing is written.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// What was asked for.
    pub config: DomainConfig,
    /// Where its kernel will run.
    pub machine: MachineKind,
    /// The kernel.
    pub image: KernelImage<'a>,
    /// The ramdisk; empty when there is none.
    pub ramdisk: &'a [u8],
    /// Where everything lies.
    pub arrangement: Arrangement,
}

impl<'a> Plan<'a> {
    /// Plans the domains that the boot modules describe. The first module, or the first member of the bundle that is
    /// the only module, is the device tree. Where it gives a kernel no arguments, those that the boot loader was given
    /// with the kernel's module count, as in Xen's hyperlaunch.
    pub fn all(modules: &[Module<'a>]) -> Result<Vec<Self>, BuildError> {
        let members = bundle::expand(modules)?;
        let tree = members.first().ok_or(BuildError::NoModules)?.data;
        let configs = devicetree::read(tree, members.len())?;
        // The device tree's reader has checked the indices.
        configs
            .into_iter()
            .map(|mut config| {
                let kernel = members[config.kernel];
                let ramdisk = config.ramdisk.map_or(&[][..], |index| members[index].data);
                if config.cmdline.is_empty() {
                    config.cmdline = String::from(kernel.command_line);
                }
                Self::new(config, kernel.data, ramdisk)
            })
            .collect()
    }

    /// Bytes of heap that the domain takes for good beside what every domain does.
    pub fn heap_bytes(&self) -> u64 {
        match self.arrangement {
            Arrangement::Pv(_) => 0,
            Arrangement::Pc(_) => crate::pc::HEAP_BYTES,
        }
    }

    /// Plans one domain.
    pub fn new(config: DomainConfig, kernel: &'a [u8], ramdisk: &'a [u8]) -> Result<Self, BuildError> {
        let image =
            KernelImage::parse(kernel).map_err(|error| BuildError::Kernel(config.name.clone(), error))?;
        let can_ring1 = image.notes.can_ring1();
        let machine = match config.machine {
            Some(MachineKind::PvRing1) if !can_ring1 => return Err(BuildError::NoRing1(config.name)),
            Some(machine) => machine,
            None if can_ring1 => MachineKind::PvRing1,
            None => MachineKind::PvRing3,
        };
        let patch_sites = config.patch_sites;
        let (name, length, pages) = (|| config.name.clone(), ramdisk.len() as u64, config.nr_pages());
        let arrangement = match machine {
            MachineKind::PvRing1 | MachineKind::PvRing3 => Layout::plan(&image.notes, length, pages)
                .map(Arrangement::Pv)
                .map_err(|error| BuildError::Layout(name(), error))?,
            MachineKind::Trap => PcLayout::plan(&image.notes, length, pages, patch_sites)
                .map(Arrangement::Pc)
                .map_err(|error| BuildError::Pc(name(), error))?,
        };
        Ok(Self { config, machine, image, ramdisk, arrangement })
    }

    /// Guest frames that the domain starts with.
    pub fn nr_pages(&self) -> u64 {
        self.config.nr_pages()
    }

    /// Fills the domain's frames, all at once.
    pub fn populate(&self, shared_info: Mfn, ports: RingPorts, memory: &mut impl Populate) -> Start {
        let mut filling = Filling::START;
        loop {
            match self.fill(filling, shared_info, ports, memory) {
                Ok(start) => return start,
                Err(next) => filling = next,
            }
        }
    }

    /// Fills the domain's frames one bounded step on: how far it came, or where the first vcpu starts.
    pub fn fill(
        &self,
        filling: Filling,
        shared_info: Mfn,
        ports: RingPorts,
        memory: &mut impl Populate,
    ) -> Result<Start, Filling> {
        let cmdline = &self.config.cmdline;
        let Self { image, ramdisk, arrangement, .. } = self;
        match arrangement {
            Arrangement::Pv(layout) => {
                let identity = Identity { policy: self.machine.policy(), shared_info, ports, cmdline };
                Source { image, ramdisk, layout, identity }.fill(filling, memory).map(Start::Pv)
            }
            Arrangement::Pc(layout) => {
                PcSource { image, ramdisk, layout, cmdline }.fill(filling, memory).map(Start::Pc)
            }
        }
    }
}
