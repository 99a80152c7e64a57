//! What a domain finds when it starts, as Xen's tools build it (xen/include/public/xen.h, `struct start_info`; docs/misc and
//! tools/libs/guest of Xen for the layout).
//!
//! RSI is the address of start_info, RSP the end of the boot stack, other registers 0. From the kernel's base lie in a row:
//! the image, start_info, the pages of xenstore and console, the page tables (read-only), the boot stack, to a multiple of
//! 4 MiB. The list of frames lies where the kernel's note asks for it. Xen's first domain is built by Xen itself: the cases
//! that tools decide about are skipped there.

use paravane_abi::hypercall::HYPERVISOR_XEN_VERSION;
use paravane_abi::pte;
use paravane_abi::start_info::StartFlags;
use pv_probe::boot::{EntryRegisters, INIT_P2M, VIRT_BASE, start};
use pv_probe::hypercall::{operation, raw};
use pv_probe::memory::{self, PAGE, RW, entry_at, m2p, mfn, pfn_at};
use pv_probe::ring;

use crate::case::{Case, Row, Stop, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "start-of-day",
    &[
        Case::good("registers", "general registers, flags and selectors at the first instruction", registers),
        Case::good("pointers", "RSI and RSP", pointers),
        Case::good("magic", "start_info's magic", magic),
        Case::good("flags", "an unprivileged domain with a module by its frame number", flags),
        Case::good("pages", "the number of pages is what the hypervisor says", pages),
        Case::good("command-line", "the command line, ended and filled with zeroes", command_line),
        Case::good(
            "frame-list",
            "each entry of the list is a frame of this domain's, and its number is the entry's",
            frame_list,
        ),
        Case::good(
            "frame-list-place",
            "the list is where the note asks for it, in the frames named",
            frame_list_place,
        ),
        Case::good("mapping", "the base maps the domain's frames in their order", mapping),
        Case::good(
            "mapping-end",
            "the mapping ends at a multiple of 4 MiB, with half a MiB to spare",
            mapping_end,
        ),
        Case::good("page-tables", "so many page tables from pt_base, mapped read-only", page_tables),
        Case::good("root", "pt_base is the root in use", root),
        Case::good("store", "xenstore's page and port", store),
        Case::good("console", "the console's page and port", console),
        Case::good("module", "the module lies in frames of its own", module),
        Case::good("padding", "padding is 0", padding),
        Case::good("features", "features that every guest has", features),
    ],
);

/// Whether Xen's tools, or what stands for them, built this domain.
fn by_tools() -> Verdict {
    if start().info.start_flags().contains(StartFlags::INITDOMAIN) {
        return Err(Stop::Skip("Xen builds its first domain by itself"));
    }
    Ok(())
}

fn registers(t: &mut Trial) -> Verdict {
    for (name, value) in EntryRegisters::NAMES.iter().zip(start().registers.0) {
        match *name {
            "rsi" | "rsp" => {}
            "cs" => t.holds(name, value == u64::from(ring::code())),
            "ss" => t.holds(name, value == u64::from(ring::stack())),
            "rflags" => t.equal(name, value, 0x202),
            _ => t.equal(name, value, 0),
        }
    }
    Ok(())
}

fn pointers(t: &mut Trial) -> Verdict {
    let (start, info) = (start(), &start().info);
    t.equal("start-info", start.info_address % PAGE, 0);
    t.equal("behind-image", start.info_address.wrapping_sub(start.image_end) / PAGE, 0);
    let tables_end = info.pt_base + info.nr_pt_frames * PAGE;
    t.equal("stack", start.registers.rsp().wrapping_sub(tables_end), PAGE);
    Ok(())
}

fn magic(t: &mut Trial) -> Verdict {
    let magic = &start().info.magic;
    t.holds("xen-3.0-x86_64", magic.starts_with(b"xen-3.0-x86_64"));
    t.same("rest", magic[16..].iter().all(|&byte| byte == 0), true);
    Ok(())
}

fn flags(t: &mut Trial) -> Verdict {
    by_tools()?;
    t.equal("flags", start().info.flags.into(), 8);
    Ok(())
}

fn pages(t: &mut Trial) -> Verdict {
    use paravane_abi::hypercall::HYPERVISOR_MEMORY_OP;
    use paravane_abi::memory::{MemoryDomain, XENMEM_CURRENT_RESERVATION};
    use paravane_abi::mmu::DOMID_SELF;
    let mut domain = MemoryDomain { domid: DOMID_SELF };
    let now = operation(HYPERVISOR_MEMORY_OP, XENMEM_CURRENT_RESERVATION, &mut domain);
    // Cases give frames back and get others.
    t.holds("reservation", (now - start().info.nr_pages as i64).abs() < 1024);
    t.holds("some", start().info.nr_pages >= 1024);
    Ok(())
}

fn command_line(t: &mut Trial) -> Verdict {
    let info = &start().info;
    let line = info.command_line();
    t.holds("text", core::str::from_utf8(line).is_ok_and(|line| line.contains("role=")));
    t.same("rest", info.cmd_line[line.len()..].iter().all(|&byte| byte == 0), true);
    t.holds("ended", line.len() < info.cmd_line.len());
    Ok(())
}

/// Frames that cases may have given back or exchanged are at the end: these are not.
fn steady() -> u64 {
    start().info.nr_pages / 2
}

fn frame_list(t: &mut Trial) -> Verdict {
    t.equal("wrong", (0..steady()).filter(|&pfn| m2p(mfn(pfn)) != pfn).count() as u64, 0);
    let mut last = 0;
    let distinct = (0..64).all(|pfn| core::mem::replace(&mut last, mfn(pfn)) != mfn(pfn));
    t.holds("distinct", distinct);
    Ok(())
}

fn frame_list_place(t: &mut Trial) -> Verdict {
    let info = &start().info;
    t.equal("address", info.mfn_list, INIT_P2M);
    let frame = m2p(pte::mfn(entry_at(INIT_P2M, 1)));
    // Its page tables are counted among its frames, before them.
    t.holds("frames", (info.first_p2m_pfn..info.first_p2m_pfn + info.nr_p2m_frames).contains(&frame));
    t.holds("count", info.nr_p2m_frames >= (info.nr_pages * 8).div_ceil(PAGE));
    Ok(())
}

fn mapping(t: &mut Trial) -> Verdict {
    // The kernel has mapped the shared page and some windows over pages of its image since, before start_info.
    let first = pfn_at(start().info_address);
    let end = first + 3 + start().info.nr_pt_frames;
    let wrong = |range: core::ops::Range<u64>| {
        range.filter(|&pfn| pte::mfn(entry_at(VIRT_BASE + pfn * PAGE, 1)) != mfn(pfn)).count() as u64
    };
    t.equal("before-image", wrong(0..512), 0);
    t.equal("behind-image", wrong(first..end), 0);
    Ok(())
}

fn mapping_end(t: &mut Trial) -> Verdict {
    let info = &start().info;
    let used = pfn_at(info.pt_base) + info.nr_pt_frames + 1;
    let end = (used..used + 2048).find(|&pfn| entry_at(VIRT_BASE + pfn * PAGE, 1) == 0).unwrap_or(0);
    t.equal("alignment", end % 1024, 0);
    t.holds("spare", end >= used + 128);
    Ok(())
}

fn page_tables(t: &mut Trial) -> Verdict {
    let info = &start().info;
    let first = pfn_at(info.pt_base);
    let writable = |pfn: u64| entry_at(VIRT_BASE + pfn * PAGE, 1) & RW != 0;
    t.equal("writable", (first..first + info.nr_pt_frames).filter(|&pfn| writable(pfn)).count() as u64, 0);
    t.same("before", writable(first - 1), true);
    t.same("behind", writable(first + info.nr_pt_frames), true);
    t.holds("count", info.nr_pt_frames >= 4);
    Ok(())
}

fn root(t: &mut Trial) -> Verdict {
    let cr3: u64;
    // SAFETY: reading has no effect.
    unsafe { core::arch::asm!("mov {}, cr3", out(reg) cr3) };
    t.holds("cr3", cr3 >> 12 == memory::root());
    Ok(())
}

/// A page that the tools keep for a ring, so many pages behind start_info, and its port.
fn ring_page(t: &mut Trial, frame: u64, port: u32, distance: u64) -> Verdict {
    by_tools()?;
    let place = m2p(frame);
    t.holds("own", place < start().info.nr_pages && mfn(place) == frame);
    t.equal("distance", place.wrapping_sub(pfn_at(start().info_address)), distance);
    t.holds("port", port > 0 && port < 16);
    Ok(())
}

fn store(t: &mut Trial) -> Verdict {
    ring_page(t, start().info.store_mfn, start().info.store_evtchn, 1)
}

fn console(t: &mut Trial) -> Verdict {
    ring_page(t, start().info.console_mfn, start().info.console_evtchn, 2)?;
    t.holds("another-port", start().info.console_evtchn != start().info.store_evtchn);
    Ok(())
}

fn module(t: &mut Trial) -> Verdict {
    let info = &start().info;
    if info.mod_len == 0 {
        return Err(Stop::Skip("there is no module"));
    }
    let used = pfn_at(info.pt_base) + info.nr_pt_frames;
    t.holds("behind", info.mod_start > used);
    t.holds("within", info.mod_start + info.mod_len.div_ceil(PAGE) <= info.nr_pages);
    t.holds("frames-behind", info.first_p2m_pfn >= info.mod_start + info.mod_len.div_ceil(PAGE));
    Ok(())
}

fn padding(t: &mut Trial) -> Verdict {
    let info = &start().info;
    t.same("pads", [info.pad0, info.pad1, info.pad2], [0; 3]);
    t.equal("shared-info", info.shared_info % PAGE, 0);
    Ok(())
}

fn features(t: &mut Trial) -> Verdict {
    let mut submap = [0u32; 2];
    const XENVER_GET_FEATURES: u32 = 6;
    t.need("get_features", operation(HYPERVISOR_XEN_VERSION, XENVER_GET_FEATURES, &mut submap))?;
    // PRESERVE_AD and tables above 4 GiB (xen/include/public/features.h); writable tables are none of them.
    t.equal("features", u64::from(submap[1]) & (1 << 5 | 1 << 0), 1 << 5);
    t.holds("version", raw(HYPERVISOR_XEN_VERSION, [0; 5]) == 4 << 16 | 17);
    Ok(())
}
