//! Boot modules: what a boot loader hands over, damaged or made up.

use arbitrary::{Result, Unstructured};
use paravane_abi::elfnote::*;
use paravane_core::addr::{Mfn, PAGE_SIZE, Pfn};
use paravane_core::boot::Module;
use paravane_core::build::bundle::{self, Member};
use paravane_core::build::elf::KernelImage;
use paravane_core::build::fake_kernel::{BASE, Elf};
use paravane_core::build::layout::Layout;
use paravane_core::build::{
    Action, Actions, DomainConfig, MachineKind, Plan, Populate, RingPorts, Share, devicetree,
};

/// Most pages of a domain that is filled, not only planned.
const FILLED_PAGES: u64 = 4096;

/// Frames that hold nothing: what is written must lie in them.
struct Bounds(u64);

impl Populate for Bounds {
    fn mfn(&self, pfn: Pfn) -> Mfn {
        assert!(pfn.get() < self.0, "{pfn:?} of {}", self.0);
        Mfn::new(0x10_0000 + self.0 - pfn.get())
    }

    fn write(&mut self, pfn: Pfn, offset: usize, bytes: &[u8]) {
        assert!(pfn.get() < self.0 && offset + bytes.len() <= PAGE_SIZE, "{pfn:?} {offset} {}", bytes.len());
    }
}

/// Boot modules as they are, or a device tree with members that are nearly right: each plan fills no frame but the
/// domain's own, and each refusal says why.
pub fn device_tree(input: &[u8]) {
    let mut choice = Unstructured::new(input);
    // An input that ends early has said enough.
    let _ = match choice.arbitrary::<u8>().unwrap_or(0) % 4 {
        0 => {
            plan(&[input.get(1..).unwrap_or(&[]).into()]);
            Ok(())
        }
        1 => {
            let kernel = Elf::kernel().build();
            plan(&[input.get(1..).unwrap_or(&[]).into(), kernel.as_slice().into()]);
            Ok(())
        }
        _ => described(&mut choice),
    };
}

/// A device tree of a few domains, a kernel and a ramdisk, some of it damaged.
fn described(choice: &mut Unstructured<'_>) -> Result<()> {
    let bundled: bool = choice.arbitrary()?;
    let configs: Vec<DomainConfig> =
        (0..choice.int_in_range(0..=3)?).map(|_| config(choice)).collect::<Result<_>>()?;
    let mut tree = devicetree::write(&configs);
    let mut kernel = Elf::kernel().build();
    if !bundled {
        damage(choice, &mut tree)?;
        plan(&[tree.as_slice().into(), kernel.as_slice().into(), b"ramdisk"[..].into()]);
        return Ok(());
    }
    damage(choice, &mut kernel)?;
    let mut file = bundle::write(&[
        Member { name: "tree", data: &tree },
        Member { name: text(choice)?, data: &kernel },
        Member { name: "ramdisk", data: b"ramdisk" },
    ]);
    damage(choice, &mut file)?;
    plan(&[file.as_slice().into()]);
    Ok(())
}

/// Text without an end in the middle: what may stand in a property.
fn text<'a>(choice: &mut Unstructured<'a>) -> Result<&'a str> {
    let text: &str = choice.arbitrary()?;
    Ok(text.split('\0').next().unwrap_or(""))
}

fn config(choice: &mut Unstructured<'_>) -> Result<DomainConfig> {
    let memory = choice.int_in_range(0..=16 << 10)?;
    let mut config = DomainConfig::new(text(choice)?, memory, choice.int_in_range(0..=3)?);
    if choice.ratio(1, 8)? {
        config.memory_kib = choice.arbitrary()?;
    }
    config.maxmem_kib = config.memory_kib.wrapping_add(choice.int_in_range(0..=64)?);
    (config.domid, config.vcpus) = (choice.arbitrary()?, choice.int_in_range(0..=40)?);
    (config.permissions, config.functions) = (choice.int_in_range(0..=3)?, choice.int_in_range(0..=3)?);
    if choice.ratio(1, 4)? {
        config.mode = choice.arbitrary()?;
    }
    config.machine = *choice.choose(&[None, Some(MachineKind::PvRing1), Some(MachineKind::PvRing3)])?;
    config.ramdisk = *choice.choose(&[None, Some(2), Some(3)])?;
    config.cmdline = text(choice)?.into();
    let action = |choice: &mut Unstructured<'_>| {
        choice.choose(&[Action::Destroy, Action::Restart, Action::Preserve]).copied()
    };
    config.actions = Actions {
        on_poweroff: action(choice)?,
        on_reboot: action(choice)?,
        on_crash: action(choice)?,
        on_watchdog: action(choice)?,
    };
    config.restarts = choice.arbitrary()?;
    config.share = Share {
        weight: choice.arbitrary()?,
        cap: choice.int_in_range(0..=1000)?,
        cpus: choice.arbitrary()?,
        exclusive: choice.arbitrary()?,
    };
    Ok(config)
}

/// Changes some bytes, to those that make arithmetic overflow among others, and perhaps the length.
fn damage(choice: &mut Unstructured<'_>, file: &mut Vec<u8>) -> Result<()> {
    for _ in 0..choice.int_in_range(0..=4)? {
        let at = choice.choose_index(file.len().max(1))?;
        let end = at.saturating_add(*choice.choose(&[1, 1, 4, 8])?).min(file.len());
        let value =
            *choice.choose(&[0, 0xff, 0x80, 0x7f, choice.peek_bytes(1).map_or(1, |bytes| bytes[0])])?;
        if let Some(range) = file.get_mut(at..end) {
            range.fill(value);
        }
    }
    if choice.ratio(1, 16)? {
        file.truncate(choice.choose_index(file.len().max(1))?);
    }
    Ok(())
}

fn plan(modules: &[Module<'_>]) {
    match Plan::all(modules) {
        Ok(plans) => {
            assert!(!plans.is_empty(), "no domain, and no reason");
            plans.iter().for_each(fill);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Fills a domain's frames, if they are not too many, and looks where it would begin.
fn fill(plan: &Plan<'_>) {
    let pages = plan.config.nr_pages();
    if pages <= FILLED_PAGES {
        let start = plan.populate(Mfn::new(0x77), RingPorts { store: 4, console: 5 }, &mut Bounds(pages));
        let (Some(start), Some(layout)) = (start.pv(), plan.arrangement.pv()) else { return };
        assert!(start.l4_pfn.get() < pages && start.console.get() < pages && start.xenstore.get() < pages);
        assert!(layout.pfn_at(start.rsp - 8).is_some(), "no stack at {:#x}", start.rsp);
    }
}

/// A kernel file as it is, or one with notes and segments that are nearly right: what is accepted has a layout in
/// which every table and address lies inside the domain.
pub fn elf_notes(input: &[u8]) {
    let mut choice = Unstructured::new(input);
    match choice.arbitrary::<u8>().unwrap_or(0) % 4 {
        0 => kernel(input.get(1..).unwrap_or(&[]), input.len() as u64, FILLED_PAGES),
        _ => {
            // An input that ends early has said enough.
            let _ = noted(&mut choice);
        }
    }
}

fn noted(choice: &mut Unstructured<'_>) -> Result<()> {
    let mut elf = Elf::kernel();
    for _ in 0..choice.int_in_range(0..=6)? {
        let kind = choice.int_in_range(0..=20)?;
        match choice.int_in_range(0..=5)? {
            0 => elf.note(text(choice)?, choice.arbitrary()?, choice.arbitrary()?),
            1 => elf.note("Xen", kind, choice.arbitrary()?),
            2 => elf.text(kind, text(choice)?),
            3 => elf.note("Paravane", 1, &choice.int_in_range(0..=3u64)?.to_le_bytes()),
            4 => elf.number(*choice.choose(&ADDRESSES)?, address(choice)?),
            _ => elf.number(kind, choice.arbitrary()?),
        };
    }
    for _ in 0..choice.int_in_range(0..=2)? {
        let data: &[u8] = choice.arbitrary()?;
        elf.load(choice.int_in_range(0..=0x40_0000)?, data.to_vec(), choice.int_in_range(0..=0x1_0000)?);
    }
    let mut file = elf.build();
    damage(choice, &mut file)?;
    let pages =
        if choice.ratio(1, 4)? { choice.arbitrary()? } else { choice.int_in_range(0..=FILLED_PAGES)? };
    kernel(&file, choice.int_in_range(0..=0x100_0000)?, pages);
    Ok(())
}

/// Notes that are addresses.
const ADDRESSES: [u32; 6] = [
    XEN_ELFNOTE_ENTRY,
    XEN_ELFNOTE_HYPERCALL_PAGE,
    XEN_ELFNOTE_VIRT_BASE,
    XEN_ELFNOTE_PADDR_OFFSET,
    XEN_ELFNOTE_INIT_P2M,
    XEN_ELFNOTE_MOD_START_PFN,
];

/// An address near the kernel, or near one of the address space's edges.
fn address(choice: &mut Unstructured<'_>) -> Result<u64> {
    let near =
        *choice.choose(&[BASE, BASE + 0x10_0000, 0, 1 << 47, 0xffff_8800_0000_0000, u64::MAX, 1 << 39])?;
    let offset = choice.int_in_range(-0x20_0000..=0x20_0000i64)?;
    Ok(near.wrapping_add_signed(if choice.arbitrary()? { offset & !0xfff } else { offset }))
}

fn kernel(file: &[u8], ramdisk: u64, pages: u64) {
    let image = match KernelImage::parse(file) {
        Ok(image) => image,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    match Layout::plan(&image.notes, ramdisk, pages) {
        Ok(layout) => {
            assert!(layout.v_start < layout.v_end && layout.l4().get() < pages);
            let tables = layout.tables().take(FILLED_PAGES as usize);
            tables
                .for_each(|table| assert!(table.pfn.get() < pages, "a table at {:?} of {pages}", table.pfn));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if pages <= FILLED_PAGES
        && let Ok(plan) = Plan::new(DomainConfig::new("guest", pages * 4, 1), file, b"ramdisk")
    {
        fill(&plan);
    }
}
