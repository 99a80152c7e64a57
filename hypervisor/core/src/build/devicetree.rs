//! What to build at boot: Xen's hyperlaunch device tree, read and written.
//!
//! The binding is the one in Xen's `docs/designs/launch/hyperlaunch-devicetree.rst`: `/chosen/hypervisor` holds
//! one node per domain, which holds one node per module. Modules are found by index (`module-index`, or the
//! older `mb-index`); index 0 is the device tree itself.
//!
//! Some properties are Paravane's own, and optional: `paravane,machine` overrides the kernel's ELF note,
//! `paravane,maxmem` lets a domain grow to so many KiB, `paravane,patch_sites`, which has no value, has the sites replaced
//! that a PC's kernel lists (docs/where-x86-refuses.md), and those of [`super::policy`].

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::descriptor::Policy;
use crate::pagetable::PagingPolicy;

use super::fdt::{self, Event, Fdt, FdtError, Writer};
use super::policy::{self, Actions, Share};

/// `mode` bit: paravirtualized.
pub const MODE_PARAVIRTUALIZED: u32 = 1 << 0;
/// `mode` bit: with a device model.
pub const MODE_ENABLE_DEVICE_MODEL: u32 = 1 << 1;
/// `mode` bit: 64-bit.
pub const MODE_LONG: u32 = 1 << 2;

/// Most vcpus of one domain: those with a slot in `shared_info` (XEN_LEGACY_MAX_VCPUS).
pub const VCPUS_MAX: u32 = 32;
/// First domain id that Xen reserves (DOMID_FIRST_RESERVED).
const DOMID_FIRST_RESERVED: u64 = 0x7ff0;
/// Most memory of one domain, in KiB: 16 TiB, the most a 44-bit machine address reaches.
const MEMORY_MAX_KIB: u64 = 1 << 34;

/// Where a domain's kernel is to run, when the device tree decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineKind {
    /// Paravane's extension: the kernel in ring 1.
    PvRing1,
    /// Xen's ABI: the kernel in ring 3.
    PvRing3,
    /// A PC with everything it takes to deceive a kernel written for ring 0: the kernel in ring 1, by trap and emulation.
    Trap,
}

impl MachineKind {
    /// Where its kernel runs.
    pub const fn policy(self) -> Policy {
        match self {
            Self::PvRing1 | Self::Trap => Policy::Ring1,
            Self::PvRing3 => Policy::Ring3,
        }
    }

    /// What its page tables may say.
    pub const fn paging(self) -> PagingPolicy {
        match self {
            Self::PvRing1 | Self::Trap => PagingPolicy::Ring1,
            Self::PvRing3 => PagingPolicy::Ring3,
        }
    }

    /// The name used on command lines and in the device tree.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PvRing1 => "pv-ring1",
            Self::PvRing3 => "pv-ring3",
            Self::Trap => "trap",
        }
    }

    /// The kind with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::PvRing1, Self::PvRing3, Self::Trap].into_iter().find(|kind| kind.name() == name)
    }
}

/// One domain to build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainConfig {
    /// Node name.
    pub name: String,
    /// Requested domain id; 0 asks for the next free one.
    pub domid: u16,
    /// Permission bits (1 control, 2 hardware).
    pub permissions: u32,
    /// Function bits.
    pub functions: u32,
    /// Mode bits, `MODE_*`.
    pub mode: u32,
    /// Machine, if the device tree overrides the kernel's ELF note.
    pub machine: Option<MachineKind>,
    /// Whether the sensitive instructions that a PC's kernel lists are replaced by ones that trap.
    pub patch_sites: bool,
    /// Number of vcpus.
    pub vcpus: u32,
    /// Memory in KiB: a multiple of 4, at least 4.
    pub memory_kib: u64,
    /// Module index of the kernel.
    pub kernel: usize,
    /// Module index of the ramdisk.
    pub ramdisk: Option<usize>,
    /// Kernel command line.
    pub cmdline: String,
    /// Memory in KiB that it may grow to; at least `memory_kib`.
    pub maxmem_kib: u64,
    /// What follows when it stops.
    pub actions: Actions,
    /// How often it is started again at most.
    pub restarts: u32,
    /// Its share of the processors.
    pub share: Share,
}

impl DomainConfig {
    /// A domain with one vcpu and Xen's defaults for all that is optional.
    pub fn new(name: &str, memory_kib: u64, kernel: usize) -> Self {
        Self {
            name: String::from(name),
            domid: 0,
            permissions: 0,
            functions: 0,
            mode: MODE_PARAVIRTUALIZED | MODE_LONG,
            machine: None,
            patch_sites: false,
            vcpus: 1,
            memory_kib,
            kernel,
            ramdisk: None,
            cmdline: String::new(),
            maxmem_kib: memory_kib,
            actions: Actions::default(),
            restarts: u32::MAX,
            share: Share::default(),
        }
    }

    /// Memory in 4 KiB pages.
    pub fn nr_pages(&self) -> u64 {
        self.memory_kib / 4
    }
}

/// What is wrong with one domain node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A required property is missing.
    Missing(&'static str),
    /// A property has the wrong length, type or range.
    Value(&'static str),
    /// A mode this hypervisor has no domains of.
    Mode(u32),
    /// No kernel module node.
    NoKernel,
    /// Two modules of the same kind.
    Twice(&'static str),
    /// A module index without a module behind it.
    Module(u64),
    /// Another domain asked for the same id.
    DomidTaken(u16),
}

/// Why no configuration came out of a device tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// The blob itself is damaged.
    Tree(FdtError),
    /// There is no `/chosen/hypervisor`.
    NoHypervisor,
    /// `/chosen/hypervisor` is not compatible with `hypervisor,xen`.
    NotXen,
    /// There is nothing to build.
    NoDomain,
    /// A domain node is wrong.
    Domain {
        /// Node name.
        name: String,
        /// What is wrong.
        problem: Problem,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "property `{name}` is missing"),
            Self::Value(name) => write!(f, "property `{name}` has a bad value"),
            Self::Mode(mode) => write!(f, "mode {mode:#x} is not paravirtualized 64-bit (0x5)"),
            Self::NoKernel => write!(f, "no module,kernel node"),
            Self::Twice(kind) => write!(f, "more than one {kind} node"),
            Self::Module(index) => write!(f, "there is no boot module {index}"),
            Self::DomidTaken(domid) => write!(f, "domid {domid} is asked for twice"),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tree(error) => error.fmt(f),
            Self::NoHypervisor => write!(f, "device tree: no /chosen/hypervisor node"),
            Self::NotXen => {
                write!(f, "device tree: /chosen/hypervisor is not compatible with hypervisor,xen")
            }
            Self::NoDomain => write!(f, "device tree: no xen,domain node"),
            Self::Domain { name, problem } => write!(f, "device tree: domain `{name}`: {problem}"),
        }
    }
}

impl core::error::Error for ConfigError {}

impl From<FdtError> for ConfigError {
    fn from(error: FdtError) -> Self {
        Self::Tree(error)
    }
}

#[derive(Clone, Copy, Default)]
struct ModuleDraft<'a> {
    compatible: &'a [u8],
    index: Option<&'a [u8]>,
    bootargs: Option<&'a [u8]>,
}

#[derive(Default)]
struct DomainDraft<'a> {
    name: &'a str,
    compatible: &'a [u8],
    domid: Option<&'a [u8]>,
    permissions: Option<&'a [u8]>,
    functions: Option<&'a [u8]>,
    mode: Option<&'a [u8]>,
    machine: Option<&'a [u8]>,
    patch_sites: bool,
    cpus: Option<&'a [u8]>,
    memory: Option<&'a [u8]>,
    maxmem: Option<&'a [u8]>,
    policy: policy::Draft<'a>,
    kernel: Option<ModuleDraft<'a>>,
    ramdisk: Option<ModuleDraft<'a>>,
    twice: Option<&'static str>,
}

/// Levels of the tree, counted as open nodes: root, chosen, hypervisor, domain, module.
const LEVEL_HYPERVISOR: usize = 3;
const LEVEL_DOMAIN: usize = 4;
const LEVEL_MODULE: usize = 5;

/// Reads the domains a device tree describes, in order. `nr_modules` bounds the module indices.
pub fn read(blob: &[u8], nr_modules: usize) -> Result<Vec<DomainConfig>, ConfigError> {
    let mut configs: Vec<DomainConfig> = Vec::new();
    // Open nodes, and how many of them, from the root, lie on the path to the hypervisor node.
    let (mut depth, mut on_path) = (0, 0);
    let mut seen_hypervisor = false;
    let mut is_xen = false;
    let mut domain = DomainDraft::default();
    let mut module = ModuleDraft::default();
    for event in Fdt::new(blob)?.events() {
        match event? {
            Event::Begin { name } => {
                let wanted = ["", "chosen", "hypervisor"];
                if depth == on_path && wanted.get(depth).is_some_and(|wanted| base_name(name) == *wanted) {
                    on_path += 1;
                    seen_hypervisor |= on_path == LEVEL_HYPERVISOR;
                }
                depth += 1;
                if on_path == LEVEL_HYPERVISOR {
                    match depth {
                        LEVEL_DOMAIN => domain = DomainDraft { name, ..DomainDraft::default() },
                        LEVEL_MODULE => module = ModuleDraft::default(),
                        _ => {}
                    }
                }
            }
            Event::Property { name, value } if on_path == LEVEL_HYPERVISOR => match depth {
                LEVEL_HYPERVISOR if name == "compatible" => {
                    is_xen |= fdt::string_list_contains(value, "hypervisor,xen");
                }
                LEVEL_DOMAIN => domain.property(name, value),
                LEVEL_MODULE => module.property(name, value),
                _ => {}
            },
            Event::Property { .. } => {}
            Event::End => {
                if on_path == LEVEL_HYPERVISOR {
                    if depth == LEVEL_MODULE {
                        domain.attach(module);
                    } else if depth == LEVEL_DOMAIN
                        && fdt::string_list_contains(domain.compatible, "xen,domain")
                    {
                        configs.push(domain.finish(nr_modules, &configs)?);
                    }
                }
                depth -= 1;
                on_path = on_path.min(depth);
            }
        }
    }
    match (seen_hypervisor, is_xen, configs.is_empty()) {
        (false, ..) => Err(ConfigError::NoHypervisor),
        (true, false, _) => Err(ConfigError::NotXen),
        (true, true, true) => Err(ConfigError::NoDomain),
        (true, true, false) => Ok(configs),
    }
}

impl<'a> ModuleDraft<'a> {
    fn property(&mut self, name: &str, value: &'a [u8]) {
        match name {
            "compatible" => self.compatible = value,
            "module-index" => self.index = Some(value),
            "mb-index" if self.index.is_none() => self.index = Some(value),
            "bootargs" => self.bootargs = Some(value),
            _ => {}
        }
    }

    fn number(&self, nr_modules: usize) -> Result<usize, Problem> {
        let value = self.index.ok_or(Problem::Missing("module-index"))?;
        let index = fdt::number(value).ok_or(Problem::Value("module-index"))?;
        // Module 0 is the device tree.
        usize::try_from(index)
            .ok()
            .filter(|&index| index > 0 && index < nr_modules)
            .ok_or(Problem::Module(index))
    }
}

impl<'a> DomainDraft<'a> {
    fn property(&mut self, name: &str, value: &'a [u8]) {
        let slot = match name {
            "compatible" => {
                self.compatible = value;
                return;
            }
            "paravane,patch_sites" => {
                self.patch_sites = true;
                return;
            }
            "domid" => &mut self.domid,
            "permissions" => &mut self.permissions,
            "functions" => &mut self.functions,
            "mode" => &mut self.mode,
            "paravane,machine" => &mut self.machine,
            "cpus" => &mut self.cpus,
            "memory" => &mut self.memory,
            "paravane,maxmem" => &mut self.maxmem,
            _ => return self.policy.property(name, value),
        };
        *slot = Some(value);
    }

    fn attach(&mut self, module: ModuleDraft<'a>) {
        for (kind, slot) in [("module,kernel", &mut self.kernel), ("module,ramdisk", &mut self.ramdisk)] {
            if fdt::string_list_contains(module.compatible, kind) && slot.replace(module).is_some() {
                self.twice = Some(kind);
            }
        }
    }

    fn finish(&self, nr_modules: usize, earlier: &[DomainConfig]) -> Result<DomainConfig, ConfigError> {
        self.checked(nr_modules, earlier)
            .map_err(|problem| ConfigError::Domain { name: String::from(self.name), problem })
    }

    fn checked(&self, nr_modules: usize, earlier: &[DomainConfig]) -> Result<DomainConfig, Problem> {
        if let Some(kind) = self.twice {
            return Err(Problem::Twice(kind));
        }
        let mode = cell("mode", self.mode)?.unwrap_or(MODE_PARAVIRTUALIZED | MODE_LONG);
        if mode != MODE_PARAVIRTUALIZED | MODE_LONG {
            return Err(Problem::Mode(mode));
        }
        let memory_kib = self.memory.ok_or(Problem::Missing("memory"))?;
        let memory_kib = fdt::number(memory_kib)
            .filter(|&kib| kib > 0 && kib % 4 == 0 && kib <= MEMORY_MAX_KIB)
            .ok_or(Problem::Value("memory"))?;
        let maxmem_kib = match self.maxmem {
            None => memory_kib,
            Some(value) => fdt::number(value)
                .filter(|&kib| kib >= memory_kib && kib % 4 == 0 && kib <= MEMORY_MAX_KIB)
                .ok_or(Problem::Value("paravane,maxmem"))?,
        };
        let domid = u64::from(cell("domid", self.domid)?.unwrap_or(0));
        if domid >= DOMID_FIRST_RESERVED {
            return Err(Problem::Value("domid"));
        }
        let domid = domid as u16;
        if domid != 0 && earlier.iter().any(|other| other.domid == domid) {
            return Err(Problem::DomidTaken(domid));
        }
        let vcpus = cell("cpus", self.cpus)?.unwrap_or(1);
        if vcpus == 0 || vcpus > VCPUS_MAX {
            return Err(Problem::Value("cpus"));
        }
        let machine = match self.machine {
            None => None,
            Some(value) => Some(
                fdt::string(value)
                    .and_then(MachineKind::from_name)
                    .ok_or(Problem::Value("paravane,machine"))?,
            ),
        };
        if self.patch_sites && machine != Some(MachineKind::Trap) {
            return Err(Problem::Value("paravane,patch_sites"));
        }
        let kernel = self.kernel.ok_or(Problem::NoKernel)?;
        let cmdline = match kernel.bootargs {
            None => "",
            Some(value) => fdt::string(value).ok_or(Problem::Value("bootargs"))?,
        };
        Ok(DomainConfig {
            name: String::from(self.name),
            domid,
            permissions: cell("permissions", self.permissions)?.unwrap_or(0),
            functions: cell("functions", self.functions)?.unwrap_or(0),
            mode,
            machine,
            patch_sites: self.patch_sites,
            vcpus,
            memory_kib,
            kernel: kernel.number(nr_modules)?,
            ramdisk: self.ramdisk.map(|ramdisk| ramdisk.number(nr_modules)).transpose()?,
            cmdline: String::from(cmdline),
            maxmem_kib,
            actions: self.policy.actions()?,
            restarts: self.policy.restarts()?,
            share: self.policy.share()?,
        })
    }
}

fn cell(name: &'static str, value: Option<&[u8]>) -> Result<Option<u32>, Problem> {
    value
        .map(|value| fdt::number(value).and_then(|n| u32::try_from(n).ok()).ok_or(Problem::Value(name)))
        .transpose()
}

/// Node name without its unit address.
fn base_name(name: &str) -> &str {
    name.split('@').next().unwrap_or(name)
}

/// Writes the device tree that [`read`] gives back.
pub fn write(domains: &[DomainConfig]) -> Vec<u8> {
    let mut tree = Writer::new();
    tree.begin("").begin("chosen").begin("hypervisor");
    tree.cells("#address-cells", &[1]).cells("#size-cells", &[0]);
    tree.strings("compatible", &["hypervisor,xen"]);
    for domain in domains {
        tree.begin(&domain.name).strings("compatible", &["xen,domain"]);
        tree.cells("domid", &[u32::from(domain.domid)]);
        tree.cells("permissions", &[domain.permissions]).cells("functions", &[domain.functions]);
        tree.cells("mode", &[domain.mode]).cells("cpus", &[domain.vcpus]);
        tree.cells("memory", &[(domain.memory_kib >> 32) as u32, domain.memory_kib as u32]);
        if let Some(machine) = domain.machine {
            tree.strings("paravane,machine", &[machine.name()]);
        }
        if domain.patch_sites {
            tree.cells("paravane,patch_sites", &[]);
        }
        if domain.maxmem_kib != domain.memory_kib {
            tree.cells("paravane,maxmem", &[(domain.maxmem_kib >> 32) as u32, domain.maxmem_kib as u32]);
        }
        policy::write(&mut tree, &domain.actions, &domain.share);
        if domain.restarts != u32::MAX {
            tree.cells("paravane,max_restarts", &[domain.restarts]);
        }
        tree.begin("kernel").strings("compatible", &["module,kernel", "multiboot,module"]);
        tree.cells("module-index", &[domain.kernel as u32]).strings("bootargs", &[&domain.cmdline]).end();
        if let Some(ramdisk) = domain.ramdisk {
            tree.begin("ramdisk").strings("compatible", &["module,ramdisk", "multiboot,module"]);
            tree.cells("module-index", &[ramdisk as u32]).end();
        }
        tree.end();
    }
    tree.end().end().end();
    tree.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn two_domains() -> Vec<DomainConfig> {
        let mut first = DomainConfig::new("guest", 0x2_0000, 1);
        first.ramdisk = Some(2);
        first.cmdline = String::from("console=hvc0 quiet");
        let mut second = DomainConfig::new("other@1", 3 << 32, 3);
        second.domid = 7;
        second.vcpus = 4;
        second.machine = Some(MachineKind::PvRing3);
        let mut third = DomainConfig::new("pc", 0x2_0000, 1);
        (third.machine, third.patch_sites) = (Some(MachineKind::Trap), true);
        vec![first, second, third]
    }

    fn problem(build: impl FnOnce(&mut Writer)) -> Result<Vec<DomainConfig>, ConfigError> {
        let mut tree = Writer::new();
        tree.begin("").begin("chosen").begin("hypervisor").strings("compatible", &["hypervisor,xen"]);
        tree.begin("domain").strings("compatible", &["xen,domain"]);
        build(&mut tree);
        tree.end().end().end().end();
        read(&tree.finish(), 4)
    }

    fn kernel(tree: &mut Writer, index: u32) {
        tree.begin("module").strings("compatible", &["module,kernel"]).cells("mb-index", &[index]).end();
    }

    #[test]
    fn configurations_survive_the_round_trip() {
        let domains = two_domains();
        assert_eq!(read(&write(&domains), 4).unwrap(), domains);
        assert_eq!(domains[1].nr_pages(), 3 << 30);
    }

    #[test]
    fn what_dtc_compiles_is_read() {
        let blob = include_bytes!("testdata/hyperlaunch.dtb");
        let mut first = DomainConfig::new("domain@1", 0x2_0000, 3);
        (first.domid, first.functions, first.ramdisk) = (1, 1, Some(4));
        first.cmdline = String::from("console=hvc0");
        let mut second = DomainConfig::new("domain@2", 1 << 32, 3);
        second.machine = Some(MachineKind::PvRing3);
        assert_eq!(read(blob, 5).unwrap(), [first, second]);
    }

    #[test]
    fn the_older_index_and_the_defaults_are_understood() {
        let got = problem(|tree| {
            tree.cells("memory", &[0x2_0000]);
            kernel(tree, 3);
        });
        assert_eq!(got.unwrap(), vec![DomainConfig::new("domain", 0x2_0000, 3)]);
    }

    #[test]
    fn each_mistake_is_named() {
        type Build = fn(&mut Writer);
        let memory: Build = |tree| {
            tree.cells("memory", &[0, 1024]);
        };
        let cases: [(Build, Problem); 14] = [
            (|_| {}, Problem::Missing("memory")),
            (|tree| _ = tree.cells("memory", &[1023]), Problem::Value("memory")),
            (|tree| _ = tree.cells("memory", &[0]), Problem::Value("memory")),
            (|tree| _ = tree.cells("memory", &[u32::MAX, 0]), Problem::Value("memory")),
            (|tree| _ = tree.cells("mode", &[2]), Problem::Mode(2)),
            (|tree| _ = tree.cells("memory", &[4]).cells("cpus", &[0]), Problem::Value("cpus")),
            (|tree| _ = tree.cells("memory", &[4]).cells("cpus", &[33]), Problem::Value("cpus")),
            (|tree| _ = tree.cells("memory", &[4]).cells("domid", &[0x7ff0]), Problem::Value("domid")),
            (
                |tree| _ = tree.cells("memory", &[4]).strings("paravane,machine", &["vax"]),
                Problem::Value("paravane,machine"),
            ),
            // Only a PC's kernel lists them, and what a kernel asks for by itself is never a PC.
            (
                |tree| _ = tree.cells("memory", &[4]).cells("paravane,patch_sites", &[]),
                Problem::Value("paravane,patch_sites"),
            ),
            (
                |tree| {
                    tree.cells("memory", &[4]).cells("paravane,patch_sites", &[]);
                    tree.strings("paravane,machine", &["pv-ring1"]);
                },
                Problem::Value("paravane,patch_sites"),
            ),
            (|tree| _ = tree.cells("memory", &[4]), Problem::NoKernel),
            (
                |tree| {
                    tree.cells("memory", &[4]);
                    kernel(tree, 4);
                },
                Problem::Module(4),
            ),
            (
                |tree| {
                    tree.cells("memory", &[4]);
                    kernel(tree, 1);
                    kernel(tree, 2);
                },
                Problem::Twice("module,kernel"),
            ),
        ];
        for (build, expected) in cases {
            let error = problem(build).unwrap_err();
            assert_eq!(error, ConfigError::Domain { name: String::from("domain"), problem: expected });
            assert!(std::format!("{error}").contains("domain"));
        }
        let no_index = problem(|tree| {
            memory(tree);
            tree.begin("m").strings("compatible", &["module,kernel"]).end();
        });
        assert!(matches!(
            no_index,
            Err(ConfigError::Domain { problem: Problem::Missing("module-index"), .. })
        ));
        let tree_as_kernel = problem(|tree| {
            memory(tree);
            kernel(tree, 0);
        });
        assert!(matches!(tree_as_kernel, Err(ConfigError::Domain { problem: Problem::Module(0), .. })));
    }

    #[test]
    fn only_the_hypervisor_node_counts() {
        let mut tree = Writer::new();
        // The right names at the wrong places, then a path that is left and entered again.
        tree.begin("").begin("hypervisor").begin("chosen").end().end();
        tree.begin("chosen").begin("cpus").begin("hypervisor").end().end().end();
        assert_eq!(
            read(
                &{
                    tree.end();
                    tree.finish()
                },
                9
            ),
            Err(ConfigError::NoHypervisor)
        );
        let mut tree = Writer::new();
        tree.begin("").begin("chosen").begin("hypervisor").strings("compatible", &["hypervisor,other"]);
        tree.end().end().end();
        assert_eq!(read(&tree.finish(), 9), Err(ConfigError::NotXen));
        let mut tree = Writer::new();
        tree.begin("").begin("chosen").begin("hypervisor").strings("compatible", &["hypervisor,xen"]);
        tree.begin("config").strings("compatible", &["xen,config"]).begin("module").end().end();
        tree.end().end().end();
        assert_eq!(read(&tree.finish(), 9), Err(ConfigError::NoDomain));
    }

    #[test]
    fn a_domid_is_given_once() {
        let mut domains = two_domains();
        domains[0].domid = 7;
        let got = read(&write(&domains), 4);
        assert!(matches!(got, Err(ConfigError::Domain { problem: Problem::DomidTaken(7), .. })));
        domains[0].domid = 0;
        domains[1].domid = 0;
        assert!(read(&write(&domains), 4).is_ok());
    }
}
