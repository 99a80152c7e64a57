//! Start of day: every field of start_info, the initial tables, both maps between guest and machine frames, the hypercall
//! page and the shared page, as the builder left them. Registers are in [`entry_registers`](super::entry_registers).

use paravane_abi::hypercall::{HYPERVISOR_MEMORY_OP, HYPERVISOR_XEN_VERSION, SLOT_SIZE};
use paravane_abi::pte;
use paravane_abi::shared_info::{SharedInfo, XEN_LEGACY_MAX_VCPUS};
use paravane_abi::start_info::StartInfo;

use crate::case::{Case, Explained, because};
use crate::observe;
use pv_probe::boot::{INIT_P2M, VIRT_BASE, start};
use pv_probe::guard::Distance;
use pv_probe::hypercall::{code, operation};
use pv_probe::memory::{self, D, Flags, PAGE, entry_at, m2p, mfn, pfn_at, shared};

/// The case.
pub const CASE: Case = super::observation(
    "start-of-day",
    "start_info, initial page tables, M2P, p2m, hypercall page and shared page",
    |_| {
        observe();
        Ok(())
    },
)
.explained(&[
    Explained { value: "info.magic", reason: because::BUILDER },
    Explained { value: "info.flags", reason: because::PRIVILEGE },
    Explained { value: "info.mod_len", reason: because::BUILDER },
    Explained { value: "info.store_*", reason: because::SERVED },
    Explained { value: "info.console.*", reason: because::SERVED },
    Explained { value: "info.pt_base", reason: because::SERVED },
    Explained { value: "layout.page_tables", reason: because::SERVED },
    Explained { value: "layout.store", reason: because::SERVED },
    Explained { value: "layout.console", reason: because::SERVED },
    Explained { value: "tables.start_info.0", reason: because::SERVED },
    Explained { value: "tables.padding.0", reason: because::SERVED },
    Explained { value: "tables.order", reason: because::BUILDER },
    Explained { value: "maps.p2m.frame", reason: because::BUILDER },
    Explained { value: "features.0", reason: because::PRIVILEGE },
]);

fn observe() {
    info_fields();
    layout();
    tables();
    maps();
    hypercall_page();
    shared_page();
    features();
}

/// A byte string's digest, for what is too long for a line: FNV-1a.
fn digest(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// A frame number as the guest sees it.
enum Frame {
    /// There is none.
    Zero,
    /// The domain's own.
    Own,
    /// Somebody else's.
    Foreign,
    /// No frame of the machine's.
    Beyond(u64),
}

impl Frame {
    fn of(mfn: u64) -> Self {
        match mfn {
            0 => Self::Zero,
            _ if mfn > machphys()[2] => Self::Beyond(mfn),
            _ => match m2p(mfn) {
                pfn if pfn < start().info.nr_pages && memory::mfn(pfn) == mfn => Self::Own,
                _ => Self::Foreign,
            },
        }
    }
}

impl core::fmt::Display for Frame {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Zero => f.write_str("0"),
            Self::Own => f.write_str("a frame of the domain's"),
            Self::Foreign => f.write_str("a frame, but not of the domain's"),
            Self::Beyond(number) => write!(f, "{number:#x}, no frame of the machine's"),
        }
    }
}

/// First and last address of the machine-to-physical table, and the highest frame.
fn machphys() -> [u64; 3] {
    const XENMEM_MACHPHYS_MAPPING: u32 = 12;
    let mut mapping = [0; 3];
    let result = operation(HYPERVISOR_MEMORY_OP, XENMEM_MACHPHYS_MAPPING, &mut mapping);
    assert!(result == 0, "machphys_mapping: {result}");
    mapping
}

fn info_fields() {
    let info = &start().info;
    let end = info.magic.iter().position(|&byte| byte == 0).unwrap_or(info.magic.len());
    observe!("info.magic", "{:?}, {} bytes", core::str::from_utf8(&info.magic[..end]), info.magic.len());
    observe!("info.nr_pages", "{:#x}", info.nr_pages);
    let offset = info.shared_info % PAGE;
    observe!("info.shared_info", "{}, offset {offset:#x}", Frame::of(info.shared_info / PAGE));
    observe!("info.flags", "{:#x}", info.flags);
    observe!("info.store_mfn", "{}", Frame::of(info.store_mfn));
    observe!("info.store_evtchn", "{}", info.store_evtchn);
    observe!("info.console.domU.mfn", "{}", Frame::of(info.console_mfn));
    observe!("info.console.domU.evtchn", "{}", info.console_evtchn);
    observe!("info.pt_base", "{:#x}", info.pt_base);
    observe!("info.nr_pt_frames", "{}", info.nr_pt_frames);
    observe!("info.mfn_list", "{:#x}", info.mfn_list);
    observe!("info.mod_start", "{:#x}", info.mod_start);
    observe!("info.mod_len", "{:#x}", info.mod_len);
    let line = core::str::from_utf8(info.command_line());
    observe!("info.cmd_line", "{line:?}");
    let after = info.command_line().len();
    observe!(
        "info.cmd_line.rest",
        "{} bytes not 0",
        info.cmd_line[after..].iter().filter(|&&byte| byte != 0).count()
    );
    observe!("info.first_p2m_pfn", "{:#x}", info.first_p2m_pfn);
    observe!("info.nr_p2m_frames", "{:#x}", info.nr_p2m_frames);
    observe!("info.pads", "{:?}", [info.pad0, info.pad1, info.pad2]);
    let rest = (size_of::<StartInfo>() as u64..PAGE).map(|offset| {
        // SAFETY: the page of start_info is mapped.
        unsafe { ((start().info_address + offset) as *const u8).read_volatile() }
    });
    observe!("info.page.rest", "{} bytes not 0", rest.filter(|&byte| byte != 0).count());
}

/// The end of the builder's mapping, as the tables tell.
fn mapping_end() -> u64 {
    (VIRT_BASE..).step_by(PAGE as usize).find(|&va| entry_at(va, 1) == 0).unwrap_or(0)
}

/// Where things lie, from one another.
fn layout() {
    let start = start();
    let info = &start.info;
    let pages = |from: u64, to: u64| Distance(to.wrapping_sub(from) / PAGE);
    observe!("layout.start_info", "{} pages behind the image", pages(start.image_end, start.info_address));
    observe!("layout.page_tables", "{} pages behind start_info", pages(start.info_address, info.pt_base));
    let tables_end = info.pt_base + info.nr_pt_frames * PAGE;
    observe!("layout.stack", "{} pages behind the page tables", pages(tables_end, start.registers.rsp()));
    let end = mapping_end();
    observe!("layout.end", "{} pages from the base", pages(VIRT_BASE, end));
    observe!(
        "layout.module",
        "pfn {} behind the mapping",
        Distance(info.mod_start.wrapping_sub(pfn_at(end)))
    );
    let module_end = info.mod_start + info.mod_len.div_ceil(PAGE);
    observe!("layout.p2m", "pfn {} behind the module", Distance(info.first_p2m_pfn.wrapping_sub(module_end)));
    for (name, address) in [("store", info.store_mfn), ("console", info.console_mfn)] {
        if matches!(Frame::of(address), Frame::Own) {
            let distance = m2p(address).wrapping_sub(pfn_at(start.info_address));
            observe!(("layout.{name}"), "{} pages behind start_info", Distance(distance));
        } else {
            observe!(("layout.{name}"), "no page");
        }
    }
}

/// A part of the initial mapping, told by how its pages are mapped.
struct Run {
    flags: u64,
    count: u64,
}

/// The flags of each part of a range, run by run. Without D, which the processor sets where the builder or this kernel wrote.
fn runs(name: &str, from: u64, to: u64) {
    let mut run: Option<Run> = None;
    let mut number = 0;
    let put = |run: &Option<Run>, number: &mut u32| {
        if let Some(run) = run {
            observe!(("{name}.{number}"), "{} pages {}", run.count, Flags(run.flags));
            *number += 1;
        }
    };
    for va in (from..to).step_by(PAGE as usize) {
        let flags = entry_at(va, 1) & !pte::ADDRESS_MASK & !D;
        match &mut run {
            Some(run) if run.flags == flags => run.count += 1,
            _ => {
                put(&run, &mut number);
                run = Some(Run { flags, count: 1 });
            }
        }
    }
    put(&run, &mut number);
}

fn tables() {
    let start = start();
    let info = &start.info;
    let root = memory::root();
    for slot in (0..512).filter(|slot| !(256..272).contains(slot)) {
        let entry = memory::peek(root, slot);
        if entry != 0 {
            observe!(("tables.l4.{slot}"), "{}", Flags(entry));
        }
    }
    for level in [3, 2] {
        for (name, va) in [("image", start.hypercall_page), ("p2m", INIT_P2M)] {
            let table = memory::table_at(va, level).unwrap_or(0);
            let used = (0..512).filter(|&index| memory::peek(table, index) != 0).count();
            observe!(("tables.{name}.l{level}"), "{used} entries, {}", Flags(entry_at(va, level)));
        }
    }
    let tables_end = info.pt_base + info.nr_pt_frames * PAGE;
    runs("tables.before-image", VIRT_BASE, start.hypercall_page);
    runs("tables.image", start.hypercall_page, start.image_end);
    runs("tables.start_info", start.info_address, info.pt_base);
    runs("tables.tables", info.pt_base, tables_end);
    runs("tables.stack", tables_end, tables_end + PAGE);
    runs("tables.padding", tables_end + PAGE, mapping_end());
    runs("tables.p2m", INIT_P2M, INIT_P2M + (info.nr_pages * 8).next_multiple_of(PAGE));
    let mut order = [0u8; 64];
    let used = (info.nr_pt_frames as usize).min(order.len());
    for (index, letter) in order[..used].iter_mut().enumerate() {
        *letter = level_of(mfn(pfn_at(info.pt_base) + index as u64));
    }
    observe!("tables.order", "{}", core::str::from_utf8(&order[..used]).unwrap_or("?"));
}

/// The level of one of the builder's tables: its digit, or `-` for a frame that is none.
fn level_of(frame: u64) -> u8 {
    let used = start().info.nr_pt_frames * 512 * PAGE;
    for level in 1..=4u32 {
        let found = (VIRT_BASE..VIRT_BASE + used)
            .step_by(512 * PAGE as usize)
            .any(|va| memory::table_at(va, level) == Some(frame));
        if found {
            return b'0' + level as u8;
        }
    }
    b'-'
}

fn maps() {
    let info = &start().info;
    let wrong = (0..info.nr_pages).filter(|&pfn| m2p(mfn(pfn)) != pfn).count();
    observe!("maps.round-trip", "{wrong} of {} frames do not come back", info.nr_pages);
    let end = pfn_at(mapping_end());
    let wrong = (0..end).filter(|&pfn| pte::mfn(entry_at(VIRT_BASE + pfn * PAGE, 1)) != mfn(pfn));
    // The cases have mapped the shared page and a window since.
    observe!("maps.mapping", "{} of {end} pages map another frame", wrong.count());
    let last = info.nr_pages.next_multiple_of(512);
    let behind = (info.nr_pages..last).map(|pfn| {
        // SAFETY: the rest of the p2m's last page.
        unsafe { (info.mfn_list as *const u64).add(pfn as usize).read_volatile() }
    });
    observe!("maps.p2m.rest", "{} entries not 0", behind.filter(|&entry| entry != 0).count());
    observe!("maps.m2p.shared_info", "{:#x}", m2p(info.shared_info / PAGE));
    let p2m = entry_at(INIT_P2M, 1);
    observe!("maps.p2m.frame", "pfn {}", Distance(m2p(pte::mfn(p2m)).wrapping_sub(info.first_p2m_pfn)));
    let machphys = machphys();
    observe!("maps.machphys", "{:#x} to {:#x}", machphys[0], machphys[1]);
    let highest = (0..info.nr_pages).map(mfn).max().unwrap_or(0);
    observe!("maps.machphys.max_mfn", "covers all frames: {}", machphys[2] >= highest);
}

fn hypercall_page() {
    let page = start().hypercall_page;
    // SAFETY: a page of the image.
    let byte = |offset: usize| unsafe { ((page + offset as u64) as *const u8).read_volatile() };
    for slot in [0, 1, 23, 29, 55, 127] {
        let bytes: [u8; SLOT_SIZE] = core::array::from_fn(|index| byte(slot * SLOT_SIZE + index));
        observe!(("hypercall-page.{slot}"), "{bytes:02x?}");
    }
    observe!("hypercall-page", "digest {:#x}", digest((0..PAGE as usize).map(byte)));
}

fn shared_page() {
    // SAFETY: the page is mapped; the hypervisor may change it meanwhile, which a copy of numbers stands.
    let shared: SharedInfo = unsafe { shared().read_volatile() };
    let masked = shared.vcpu_info.iter().filter(|vcpu| vcpu.evtchn_upcall_mask == 1).count();
    observe!("shared.masked", "{masked} of {XEN_LEGACY_MAX_VCPUS} vcpus");
    let vcpu = &shared.vcpu_info[0];
    observe!(
        "shared.vcpu0",
        "pending {} selector {:#x} cr2 {:#x} pads {:?} {:x}",
        vcpu.evtchn_upcall_pending,
        vcpu.evtchn_pending_sel,
        vcpu.arch.cr2,
        vcpu.pad0,
        vcpu.arch.pad
    );
    let time = &vcpu.time;
    // SAFETY: reading the counter has no effect.
    let now = time.system_time_at(unsafe { core::arch::x86_64::_rdtsc() });
    observe!(
        "shared.vcpu0.time",
        "version even {}, later than the start {}, flags {:#x}",
        time.version.is_multiple_of(2),
        now > 0 && time.tsc_to_system_mul > 0,
        time.flags
    );
    let others = shared.vcpu_info[1..].iter().filter(|vcpu| vcpu.time.version != 0).count();
    observe!("shared.others.time", "{others} running");
    let raised = |words: &[u64]| words.iter().map(|word| word.count_ones()).sum::<u32>();
    observe!(
        "shared.events",
        "{} pending, {} masked",
        raised(&shared.evtchn_pending),
        raised(&shared.evtchn_mask)
    );
    let now = u64::from(shared.wc_sec_hi) << 32 | u64::from(shared.wc_sec);
    observe!(
        "shared.wallclock",
        "version even {}, this century {}",
        shared.wc_version.is_multiple_of(2),
        now > 946_684_800
    );
    observe!("shared.arch", "{:x?}", shared.arch);
    let rest = (size_of::<SharedInfo>()..PAGE as usize).filter(|&offset| {
        // SAFETY: the rest of the shared page.
        unsafe { (memory::shared() as *const u8).add(offset).read_volatile() != 0 }
    });
    observe!("shared.rest", "{} bytes not 0", rest.count());
}

fn features() {
    let mut submap = [0u32; 2];
    const XENVER_GET_FEATURES: u32 = 6;
    for index in [0, 1] {
        submap = [index, submap[1]];
        let result = operation(HYPERVISOR_XEN_VERSION, XENVER_GET_FEATURES, &mut submap);
        match result {
            0 => observe!(("features.{index}"), "{:#x}", submap[1]),
            _ => observe!(("features.{index}"), "{}", code(result)),
        }
    }
}
