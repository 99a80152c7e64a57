//! From the first Rust instruction to the first guest instruction.

use alloc::boxed::Box;
use alloc::vec::Vec;

use paravane_abi::mmu::MACH2PHYS_VIRT_START;
use paravane_abi::pte::PteFlags;
use paravane_abi::ring1::ENTRY_AREA;
use paravane_core::addr::Mfn;
use paravane_core::cmdline::Options;
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::PhysFrame;

use crate::boot;
use crate::boot::memory_map::{FRAME_SIZE, MemoryMap, Range};
use crate::cpu::local::{self, Local};
use crate::cpu::{self, interrupts};
use crate::device::serial::{self, COM1_PORT};
use crate::device::{apic, exit, io_apic, pic};
use crate::entry::area::{self, EntryArea};
use crate::hardware::{Cpu, Hardware};
use crate::smp::{self, Candidate};
use crate::stack::Stacks;
use crate::tables::{self, Tables};
use crate::{clock, direct_map, domains, handlers, heap, logger, stack};

unsafe extern "C" {
    static __image_physical_start: u8;
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __image_end: u8;
}

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

    let processors = smp::discover(info.rsdp, &options);
    cpu::initialise();
    let mut machine = build_address_spaces(&mut memory, &processors);
    pic::initialise(serial::IRQ);
    apic::initialise();
    clock::calibrate();
    log::info!("TSC {} kHz, timer {} kHz", clock::tsc_khz(), clock::apic_khz());
    start_processors(&memory, &mut machine.spaces);
    COM1_PORT.lock().enable_receive_interrupt();

    let cpus = machine.spaces.into_iter().map(|space| Cpu::new(space.local, space.guest_roots, space.area));
    let hardware = Hardware::new(machine.end, machine.m2p, cpus.collect());
    domains::start(hardware, &mut memory, &info, &options)
}

/// Does what the command line says of the log, the port and the exit device, and names what it did not take.
fn apply(options: &Options) {
    if let Some(baud) = options.com1.baud {
        COM1_PORT.lock().initialise(baud);
    }
    log::set_max_level(if options.serial_console { options.loglvl.always } else { log::LevelFilter::Off });
    exit::configure(options.exit_port, options.noreboot);
    handlers::configure(options);
    for option in &options.ignored {
        log::warn!("command line: option '{option}' is not known and has no effect");
    }
}

fn image_range() -> Range {
    let end = direct_map::image_physical(&raw const __image_end);
    Range { start: &raw const __image_physical_start as u64, end }
}

/// The machine as far as it has been laid out.
struct Layout {
    /// One past the last frame of RAM.
    end: Mfn,
    /// Physical address of the machine-to-physical table.
    m2p: u64,
    /// By number.
    spaces: Vec<Space>,
}

/// What a processor runs on.
struct Space {
    local: &'static Local,
    /// Root of the tables that ring 0 runs on.
    root: u64,
    /// Roots of those that a guest's kernel and its programs run on.
    guest_roots: [u64; 2],
    stacks: Stacks,
    area: EntryArea,
}

/// Builds the address space that ring 0 runs in from now on, one of its own for each processor, since each has
/// its own pages at the entry area's address; and the roots that guests will run on.
fn build_address_spaces(memory: &mut MemoryMap, processors: &[u8]) -> Layout {
    let mut tables = Tables::new(memory);
    map_image(memory, &mut tables);
    map_direct(memory, &mut tables);
    let end = Mfn::containing(memory.end());
    let m2p = build_m2p(memory, &mut tables, end);

    let mut spaces = Vec::new();
    for (number, apic_id) in processors.iter().enumerate() {
        let stacks = match number {
            0 => Stacks::in_image(),
            _ => Stacks::new(memory, &mut tables, number),
        };
        let own = tables.fork(memory, slot_of(ENTRY_AREA));
        spaces.push(build_space(memory, own, number, *apic_id, stacks));
    }
    // SAFETY: the new tables map the image, the stack in it and the direct map as the boot tables do.
    unsafe {
        let (_, flags) = Cr3::read();
        Cr3::write(PhysFrame::containing_address(x86_64::PhysAddr::new(spaces[0].root)), flags);
    }
    local::ready();
    interrupts::load_tables(spaces[0].local.writable_gdt);
    interrupts::write_syscall_registers();
    Layout { end, m2p, spaces }
}

/// One processor's: the entry area in `tables`, and a guest root that shares it.
fn build_space(
    memory: &mut MemoryMap,
    mut tables: Tables,
    number: usize,
    apic_id: u8,
    stacks: Stacks,
) -> Space {
    let mut area = EntryArea::new(memory, &mut tables);
    let guest_roots = [tables::new_table(memory), tables::new_table(memory)];
    let share = |root: u64, slot: u64| {
        // Ring 3 sees the M2P only under a kernel that runs there: `Cpu::show_m2p`.
        let entry = tables.root_entry(slot) & !PteFlags::USER.bits();
        // SAFETY: a slot of the new root, which nothing uses yet.
        unsafe { direct_map::pointer::<u64>(root + slot * 8).write(entry) };
    };
    guest_roots.iter().for_each(|root| share(*root, slot_of(ENTRY_AREA)));
    // Programs under a kernel in ring 3 are not shown the M2P, as under Xen.
    share(guest_roots[0], slot_of(MACH2PHYS_VIRT_START));
    let local: &Local = Box::leak(Box::new(Local::new(number, apic_id, area.writable_gdt())));
    handlers::fill(area.cpu(), tables.root(), guest_roots[0], stacks, local);
    interrupts::write_idt(&area);
    Space { local, root: tables.root(), guest_roots, stacks, area }
}

/// Brings up the other processors, and forgets those that do not come.
fn start_processors(memory: &MemoryMap, spaces: &mut Vec<Space>) {
    let candidate =
        |space: &Space| Candidate { local: space.local, root: space.root, stack: space.stacks.entry };
    let candidates: Vec<_> = spaces[1..].iter().map(candidate).collect();
    let started = smp::start(memory, &candidates);
    let came = |space: &Space| started.iter().any(|local| core::ptr::eq(*local, space.local));
    spaces.retain(|space| space.local.number() == 0 || came(space));
    // Those behind one that did not come move up, while they still wait.
    for (number, space) in spaces.iter_mut().enumerate() {
        space.local.renumber(number);
        space.area.cpu().number = number;
    }
    local::publish(spaces.iter().map(|space| space.local).collect());
    match spaces.len() {
        1 => log::info!("1 processor"),
        count => log::info!("{count} processors"),
    }
}

/// Maps all RAM, and the registers of the local APIC and of the first I/O APIC. What nobody may write in the image nobody may write here.
fn map_direct(memory: &mut MemoryMap, tables: &mut Tables) {
    let physical = |start, end| Range {
        start: direct_map::image_physical::<u8>(start),
        end: direct_map::image_physical::<u8>(end),
    };
    let read_only = [physical(&raw const __text_start, &raw const __rodata_end), area::code()];
    let ram = memory.ram().to_vec();
    let mut map = |start: u64, end: u64, flags| {
        tables.map_range(memory, direct_map::virt(start), start, end - start, flags);
    };
    for range in ram {
        let mut at = range.start;
        // In ascending order, as the linker script has them.
        for part in read_only.iter().filter_map(|part| part.intersection(&range)) {
            map(at, part.start, tables::READ_WRITE);
            map(part.start, part.end, tables::READ);
            at = part.end;
        }
        map(at, range.end, tables::READ_WRITE);
    }
    for registers in [apic::PHYSICAL_BASE, io_apic::PHYSICAL_BASE] {
        tables.map(memory, direct_map::virt(registers), registers, tables::DEVICE);
    }
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
    tables.map_range(memory, MACH2PHYS_VIRT_START, physical, bytes, tables::READ_USER);
    physical
}
