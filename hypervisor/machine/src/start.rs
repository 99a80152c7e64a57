//! From the first Rust instruction to the first guest instruction.

use paravane_abi::mmu::MACH2PHYS_VIRT_START;
use paravane_abi::ring1::ENTRY_AREA;
use paravane_core::addr::Mfn;
use paravane_core::cmdline::Options;
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::PhysFrame;

use crate::boot;
use crate::boot::memory_map::{FRAME_SIZE, MemoryMap, Range};
use crate::cpu::{self, interrupts, msr};
use crate::device::serial::{self, COM1_PORT};
use crate::device::{apic, exit, pic};
use crate::entry::area::EntryArea;
use crate::hardware::Hardware;
use crate::tables::{self, Tables};
use crate::{clock, direct_map, domains, handlers, heap, logger, stack};

unsafe extern "C" {
    static __image_physical_start: u8;
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __image_end: u8;
}

/// Page-attribute table of Xen's PV ABI (WB, WT, UC-, UC, WC, WP, UC, UC): guests read it and rely on it.
const PAT: u64 = 0x0000_0501_0007_0406;

/// The image's first Rust function; `boot.S` calls it with the boot loader's information in RDI and, in RSI, the
/// magic that tells whose it is.
#[unsafe(no_mangle)]
extern "C" fn boot_main(information: u64, magic: u32) -> ! {
    COM1_PORT.lock().initialise(115_200);
    logger::initialise();
    let info = boot::information(magic, information, image_range()).unwrap_or_else(|error| panic!("{error}"));
    let options = Options::parse(info.command_line);
    apply(&options);
    log::info!("Paravane {}: Xen's x86-64 PV ABI, guest kernels in ring 1", env!("CARGO_PKG_VERSION"));

    log::info!(
        "booted by {}, {} modules, boot loader: {:?}",
        info.protocol.name(),
        info.modules.len(),
        info.loader
    );

    let mut memory = MemoryMap::new(info.ram.clone(), &info.reserved);
    memory.reserve(image_range());
    log::info!("{} MiB of RAM in {} ranges", memory.total() >> 20, memory.ram().len());
    heap::extend_from(&mut memory);

    let features = cpu::Features::detect();
    cpu::initialise_control_registers(features);
    msr::write(msr::PAT, PAT);
    let hardware = build_address_space(&mut memory);
    pic::initialise(serial::IRQ);
    apic::initialise();
    clock::calibrate();
    log::info!("TSC {} kHz, timer {} kHz", clock::tsc_khz(), clock::apic_khz());
    COM1_PORT.lock().enable_receive_interrupt();

    domains::start(hardware, &mut memory, &info, &options)
}

/// Does what the command line says of the log, the port and the exit device, and names what it did not take.
fn apply(options: &Options) {
    if let Some(baud) = options.com1.baud {
        COM1_PORT.lock().initialise(baud);
    }
    log::set_max_level(if options.serial_console { options.loglvl.always } else { log::LevelFilter::Off });
    exit::configure(options.exit_port, options.noreboot);
    handlers::audit_at_end(options.audit);
    for option in &options.ignored {
        log::warn!("command line: option '{option}' is not known and has no effect");
    }
}

fn image_range() -> Range {
    let end = direct_map::image_physical(&raw const __image_end);
    Range { start: &raw const __image_physical_start as u64, end }
}

/// Builds the address space that ring 0 runs in from now on, and the root that guests will run on.
fn build_address_space(memory: &mut MemoryMap) -> Hardware {
    let mut tables = Tables::new(memory);
    map_image(memory, &mut tables);
    let ram: alloc::vec::Vec<Range> = memory.ram().to_vec();
    for range in ram {
        let bytes = range.end - range.start;
        tables.map_range(memory, direct_map::virt(range.start), range.start, bytes, tables::READ_WRITE);
    }
    let registers = apic::PHYSICAL_BASE;
    tables.map(memory, direct_map::virt(registers), registers, tables::DEVICE);

    let end = Mfn::containing(memory.end());
    let m2p = build_m2p(memory, &mut tables, end);
    let mut area = EntryArea::new(memory, &mut tables);
    let guest_root = tables::new_table(memory);
    for slot in [slot_of(MACH2PHYS_VIRT_START), slot_of(ENTRY_AREA)] {
        // SAFETY: a slot of the new root, which nothing uses yet.
        unsafe { direct_map::pointer::<u64>(guest_root + slot * 8).write(tables.root_entry(slot)) };
    }
    // SAFETY: the new tables map the image, the stack in it and the direct map as the boot tables do.
    unsafe {
        let (_, flags) = Cr3::read();
        Cr3::write(PhysFrame::containing_address(x86_64::PhysAddr::new(tables.root())), flags);
    }
    handlers::fill(area.cpu(), tables.root(), guest_root);
    interrupts::write_idt(&area);
    interrupts::load_tables(&area);
    interrupts::write_syscall_registers();
    Hardware::new(end, m2p, guest_root, area)
}

fn slot_of(virt: u64) -> u64 {
    virt >> 39 & 511
}

/// The image with each part's own rights: nothing is both writable and executable.
fn map_image(memory: &mut MemoryMap, tables: &mut Tables) {
    let parts = [
        (&raw const __text_start, &raw const __text_end, tables::READ_EXECUTE),
        (&raw const __text_end, &raw const __rodata_end, tables::READ),
        (&raw const __rodata_end, &raw const __image_end, tables::READ_WRITE),
    ];
    for (start, end, flags) in parts {
        for page in (start as u64..end as u64).step_by(FRAME_SIZE as usize) {
            let physical = direct_map::image_physical(page as *const u8);
            tables.map(memory, page, physical, flags);
        }
    }
    for guard in stack::guards() {
        tables.unmap(memory, guard);
    }
}

/// The machine-to-physical table: one word a frame, all invalid, read-only at Xen's address.
fn build_m2p(memory: &mut MemoryMap, tables: &mut Tables, end: Mfn) -> u64 {
    const LARGE: u64 = 2 << 20;
    let bytes = (end.get() * 8).next_multiple_of(LARGE);
    let physical = memory.allocate(bytes, LARGE).expect("no RAM for the machine-to-physical table");
    // SAFETY: just allocated.
    unsafe { direct_map::pointer::<u8>(physical).write_bytes(0xff, bytes as usize) };
    tables.map_range(memory, MACH2PHYS_VIRT_START, physical, bytes, tables::READ);
    physical
}
