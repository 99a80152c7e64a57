//! Fills a new domain's frames according to its [`Layout`]: image, ramdisk, p2m, page tables, hypercall page, start
//! info. What comes out is ordinary guest memory: the page tables get their types later, by the same validation
//! that a guest's own tables go through.

use core::mem::offset_of;

use paravane_abi::hypercall::HYPERVISOR_IRET;
use paravane_abi::pte::{self, PteFlags};
use paravane_abi::shared_info::{SharedInfo, VcpuInfo, VcpuTimeInfo, XEN_LEGACY_MAX_VCPUS};
use paravane_abi::start_info::{StartFlags, StartInfo};
use zerocopy::IntoBytes;

use super::elf::KernelImage;
use super::layout::{Layout, Table};
use crate::addr::{ENTRIES, Level, Mfn, PAGE_SIZE, Pfn};
use crate::descriptor::Policy;
use crate::event::Port;
use crate::time::TimePublisher;

/// A domain's frames while it is built. Guest frames 0 to `nr_pages - 1` are allocated and scrubbed: what is not
/// written here keeps what it holds, and that must be nobody's secret.
pub trait Populate {
    /// The machine frame behind a guest frame.
    fn mfn(&self, pfn: Pfn) -> Mfn;
    /// Writes bytes within one guest frame.
    fn write(&mut self, pfn: Pfn, offset: usize, bytes: &[u8]);
}

/// A new domain's ends of the event channels of the rings that the hypervisor serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingPorts {
    /// Xenstore's.
    pub store: Port,
    /// The console's.
    pub console: Port,
}

/// What the builder does not know by itself.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// Where the kernel will run.
    pub policy: Policy,
    /// Machine frame of the shared-info page.
    pub shared_info: Mfn,
    /// The guest's ends of event channels.
    pub ports: RingPorts,
    /// Kernel command line; at most 1023 bytes count.
    pub cmdline: &'a str,
}

/// Where the domain's first vcpu starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartOfDay {
    /// RIP.
    pub entry: u64,
    /// RSP: the end of the boot stack.
    pub rsp: u64,
    /// RSI: the start-info page.
    pub rsi: u64,
    /// The L4, to be pinned and loaded.
    pub l4: Mfn,
    /// Guest frame of the L4.
    pub l4_pfn: Pfn,
    /// Page tables of the initial mapping.
    pub nr_page_tables: u64,
    /// Guest frame of the console ring.
    pub console: Pfn,
    /// Guest frame of the xenstore ring.
    pub xenstore: Pfn,
}

/// Slots of the hypercall page.
const SLOT: usize = 32;
/// `int3`: what lies between the slots (a kernel that jumps there should notice).
const INT3: u8 = 0xcc;

/// Bytes written in one bounded step of filling a domain.
const STEP_BYTES: usize = 256 << 10;

/// How far the filling of a domain's frames has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filling {
    /// This segment of the kernel, from this byte of its data and zeros on.
    Segment(usize, u64),
    /// The ramdisk, from this page on.
    Ramdisk(u64),
    /// The p2m, from this page on.
    P2m(u64),
    /// The page tables, from this one on.
    Tables(usize),
    /// What is left: the hypercall page, start info and the pages beside it.
    Rest,
}

impl Filling {
    /// Nothing is filled.
    pub const START: Self = Self::Segment(0, 0);
}

/// What a domain is filled from, and by: `image` must be the one `layout` was planned for, and `ramdisk` as long as
/// planned.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The kernel.
    pub image: &'a KernelImage<'a>,
    /// The ramdisk.
    pub ramdisk: &'a [u8],
    /// Where everything goes.
    pub layout: &'a Layout,
    /// What the builder does not know by itself.
    pub identity: Identity<'a>,
}

impl Source<'_> {
    /// One bounded step: how far it came, or where the first vcpu starts when all is filled.
    pub fn fill(&self, filling: Filling, memory: &mut impl Populate) -> Result<StartOfDay, Filling> {
        let Self { image, ramdisk, layout, identity } = self;
        let pages = (STEP_BYTES / PAGE_SIZE) as u64;
        Err(match filling {
            Filling::Segment(index, from) => {
                fill_segment(image, index, from, memory, |va| page_at(layout, va))
                    .unwrap_or(Filling::Ramdisk(0))
            }
            Filling::Ramdisk(first) => {
                let place = layout.ramdisk.map(|ramdisk| ramdisk.pfn);
                fill_ramdisk(ramdisk, place, first, memory).unwrap_or(Filling::P2m(0))
            }
            Filling::P2m(first) if first * (ENTRIES as u64) < layout.nr_pages => {
                (first..first + pages).for_each(|page| write_p2m_page(layout, memory, page));
                Filling::P2m(first + pages)
            }
            Filling::P2m(_) => Filling::Tables(0),
            Filling::Tables(first) => {
                let mut count = 0;
                for table in layout.tables().skip(first).take(TABLES_A_STEP) {
                    let contents = table_contents(layout, table, identity.policy, memory);
                    memory.write(table.pfn, 0, contents.as_bytes());
                    count += 1;
                }
                if count == TABLES_A_STEP { Filling::Tables(first + count) } else { Filling::Rest }
            }
            Filling::Rest => return Ok(self.finish(memory)),
        })
    }

    /// The last step.
    fn finish(&self, memory: &mut impl Populate) -> StartOfDay {
        let Self { image, layout, identity, .. } = self;
        if let Some(va) = image.notes.hypercall_page {
            write_at(memory, layout, va, &hypercall_page(identity.policy));
        }
        let console = page_at(layout, layout.console);
        let xenstore = page_at(layout, layout.xenstore);
        for va in [layout.start_info, layout.xenstore, layout.console, layout.stack_end - PAGE_SIZE as u64] {
            zero_at(memory, layout, va, PAGE_SIZE as u64);
        }
        let info = start_info(layout, identity, memory.mfn(xenstore), memory.mfn(console));
        write_at(memory, layout, layout.start_info, info.as_bytes());
        StartOfDay {
            entry: image.notes.entry,
            rsp: layout.stack_end,
            rsi: layout.start_info,
            l4: memory.mfn(layout.l4()),
            l4_pfn: layout.l4(),
            nr_page_tables: layout.nr_page_tables,
            console,
            xenstore,
        }
    }
}

/// The contents of a new shared-info page: all upcalls masked, the clock of the vcpus that exist, and the wall clock
/// (time since 1970 at system time 0). Linux derives its clock's frequency from vcpu 0's entry as soon as it maps
/// the page, so this must be valid before the first instruction.
///
/// Each [`TimePublisher`] goes on counting where this leaves off.
pub fn shared_info(
    time: &VcpuTimeInfo,
    wallclock: (u64, u32),
    vcpus: &mut [TimePublisher],
    wall: &mut TimePublisher,
) -> [u8; PAGE_SIZE] {
    let mut page = [0; PAGE_SIZE];
    for slot in 0..XEN_LEGACY_MAX_VCPUS {
        page[slot * size_of::<VcpuInfo>() + offset_of!(VcpuInfo, evtchn_upcall_mask)] = 1;
    }
    let mut put = |offset: usize, bytes: &[u8]| page[offset..offset + bytes.len()].copy_from_slice(bytes);
    for (slot, publisher) in vcpus.iter_mut().take(XEN_LEGACY_MAX_VCPUS).enumerate() {
        let base =
            offset_of!(SharedInfo, vcpu_info) + slot * size_of::<VcpuInfo>() + offset_of!(VcpuInfo, time);
        publisher.time(time, |offset, bytes| put(base + offset, bytes));
    }
    wall.wallclock(wallclock.0, wallclock.1, put);
    page
}

fn start_info(layout: &Layout, identity: &Identity<'_>, store: Mfn, console: Mfn) -> StartInfo {
    let mut info = StartInfo::new();
    info.set_command_line(identity.cmdline.as_bytes());
    info.nr_pages = layout.nr_pages;
    info.shared_info = identity.shared_info.address();
    info.store_mfn = store.get();
    info.store_evtchn = identity.ports.store;
    info.console_mfn = console.get();
    info.console_evtchn = identity.ports.console;
    info.pt_base = layout.page_tables;
    info.nr_pt_frames = layout.nr_page_tables;
    info.mfn_list = layout.p2m;
    if let Some(ramdisk) = layout.ramdisk {
        // As Xen's tools tell it: whole pages, the rest of the last one zeroes.
        info.mod_len = ramdisk.len.next_multiple_of(PAGE_SIZE as u64);
        match ramdisk.va {
            Some(va) => info.mod_start = va,
            None => {
                info.mod_start = ramdisk.pfn.get();
                info.flags |= StartFlags::MOD_START_PFN.bits();
            }
        }
    }
    if let Some((first, count)) = layout.p2m_frames {
        info.first_p2m_pfn = first.get();
        info.nr_p2m_frames = count;
    }
    info
}

/// Page tables written in one bounded step: each looks up all its entries.
const TABLES_A_STEP: usize = 16;

/// Writes a page of the p2m, if there is one of that number.
fn write_p2m_page(layout: &Layout, memory: &mut impl Populate, page: u64) {
    let first = page * ENTRIES as u64;
    if first >= layout.nr_pages {
        return;
    }
    let mut entries = [0u64; ENTRIES];
    for (entry, pfn) in entries.iter_mut().zip(first..layout.nr_pages) {
        *entry = memory.mfn(Pfn::new(pfn)).get();
    }
    memory.write(Pfn::new(layout.p2m_pfn.get() + page), 0, entries.as_bytes());
}

/// A table's entries. Page tables are mapped read-only, everything else writable; the pages are the kernel's, which in ring 3
/// is marked when the tables are checked. All accessed, and in ring 1 dirty, so that the CPU writes to no table at first; in
/// ring 3 pages are as Xen's tools map them, and the CPU marks those that are written.
fn table_contents(layout: &Layout, table: Table, policy: Policy, memory: &impl Populate) -> [u64; ENTRIES] {
    let common = PteFlags::PRESENT | PteFlags::ACCESSED;
    let flags = match (policy, table.level) {
        (Policy::Ring1, _) => common | PteFlags::DIRTY,
        (Policy::Ring3, Level::L1) => common,
        (Policy::Ring3, _) => common | PteFlags::DIRTY | PteFlags::USER,
    };
    let mut entries = [0; ENTRIES];
    for (index, entry) in entries.iter_mut().enumerate() {
        let va = sign_extended(table.first_va + ((index as u64) << table.level.shift()));
        let (below, writable) = match table.level.below() {
            Some(level) => (layout.table_at(level, va), true),
            None => match layout.pfn_at(va) {
                Some(pfn) => (Some(pfn), !layout.is_table(pfn)),
                None => (None, false),
            },
        };
        if let Some(pfn) = below {
            let flags = if writable { flags | PteFlags::RW } else { flags };
            *entry = pte::entry(memory.mfn(pfn).get(), flags);
        }
    }
    debug_assert!(table.level == Level::L1 || entries.iter().any(|&entry| entry != 0));
    entries
}

/// The hypercall page. In both forms a slot keeps all registers but RAX, and slot 23 does not return: it pushes what
/// the `iret` frame has below the flags, RCX, R11 and RAX, and calls.
pub fn hypercall_page(policy: Policy) -> [u8; PAGE_SIZE] {
    let mut page = [INT3; PAGE_SIZE];
    for (number, slot) in page.chunks_exact_mut(SLOT).enumerate() {
        let [a, b, c, d] = (number as u32).to_le_bytes();
        let number_in_eax = [0xb8, a, b, c, d];
        // SYSCALL clobbers RCX and R11; the interrupt gate clobbers nothing.
        let (enter, saves): (&[u8], _) = match policy {
            Policy::Ring1 => (&[0xcd, 0x82], false),
            Policy::Ring3 => (&[0x0f, 0x05], true),
        };
        const PUSH_RCX_R11: &[u8] = &[0x51, 0x41, 0x53];
        const POP_R11_RCX: &[u8] = &[0x41, 0x5b, 0x59];
        const PUSH_RAX: &[u8] = &[0x50];
        const RET: &[u8] = &[0xc3];
        let code: [&[u8]; 5] = if number as u64 == HYPERVISOR_IRET {
            [PUSH_RCX_R11, PUSH_RAX, &number_in_eax, enter, &[]]
        } else if saves {
            [PUSH_RCX_R11, &number_in_eax, enter, POP_R11_RCX, RET]
        } else {
            [&number_in_eax, enter, RET, &[], &[]]
        };
        for (to, &from) in slot.iter_mut().zip(code.into_iter().flatten()) {
            *to = from;
        }
    }
    page
}

/// A bounded step of loading the kernel's segments, at the frames that `place` gives for their addresses: how far it came;
/// None when nothing is left.
pub(super) fn fill_segment(
    image: &KernelImage<'_>,
    index: usize,
    from: u64,
    memory: &mut impl Populate,
    place: impl Fn(u64) -> Pfn,
) -> Option<Filling> {
    let segment = image.segments.get(index)?;
    let (data, len) = (segment.data, segment.data.len() as u64 + segment.zeros);
    let end = len.min(from + STEP_BYTES as u64);
    let filled = data.len() as u64;
    if from < filled {
        write_by(memory, &place, segment.va + from, &data[from as usize..end.min(filled) as usize]);
    }
    let zeros = from.max(filled);
    zero_by(memory, &place, segment.va + zeros, end.saturating_sub(zeros));
    Some(if end < len { Filling::Segment(index, end) } else { Filling::Segment(index + 1, 0) })
}

/// A bounded step of loading the ramdisk, from its page `first` on, at frames from `place` on: how far it came; None when
/// nothing is left.
pub(super) fn fill_ramdisk(
    ramdisk: &[u8],
    place: Option<Pfn>,
    first: u64,
    memory: &mut impl Populate,
) -> Option<Filling> {
    let rest = ramdisk.get(first as usize * PAGE_SIZE..).filter(|rest| !rest.is_empty())?;
    let pages = STEP_BYTES / PAGE_SIZE;
    for (page, pfn) in rest.chunks(PAGE_SIZE).zip(place?.get() + first..).take(pages) {
        memory.write(Pfn::new(pfn), 0, page);
    }
    Some(Filling::Ramdisk(first + pages as u64))
}

/// Writes at an address of the initial mapping.
fn write_at(memory: &mut impl Populate, layout: &Layout, va: u64, bytes: &[u8]) {
    write_by(memory, &|va| page_at(layout, va), va, bytes);
}

fn zero_at(memory: &mut impl Populate, layout: &Layout, va: u64, len: u64) {
    zero_by(memory, &|va| page_at(layout, va), va, len);
}

/// Writes at an address, whose frames `place` knows.
pub(super) fn write_by(memory: &mut impl Populate, place: &impl Fn(u64) -> Pfn, address: u64, bytes: &[u8]) {
    let mut address = address;
    let mut rest = bytes;
    while !rest.is_empty() {
        let offset = address as usize % PAGE_SIZE;
        let (piece, after) = rest.split_at(rest.len().min(PAGE_SIZE - offset));
        memory.write(place(address), offset, piece);
        address += piece.len() as u64;
        rest = after;
    }
}

fn zero_by(memory: &mut impl Populate, place: &impl Fn(u64) -> Pfn, address: u64, len: u64) {
    const ZEROS: &[u8; PAGE_SIZE] = &[0; PAGE_SIZE];
    let end = address + len;
    let mut address = address;
    while address < end {
        let offset = address as usize % PAGE_SIZE;
        let piece = (PAGE_SIZE - offset).min((end - address) as usize);
        memory.write(place(address), offset, &ZEROS[..piece]);
        address += piece as u64;
    }
}

/// # Panics
/// When the address is not mapped: the layout was planned for something else.
fn page_at(layout: &Layout, va: u64) -> Pfn {
    layout.pfn_at(va).expect("the layout maps all that is loaded")
}

fn sign_extended(va: u64) -> u64 {
    ((va << 16) as i64 >> 16) as u64
}
