//! The kernel's main function, and what it was told on the command line.

use alloc::string::String;
use alloc::vec::Vec;

use paravane_abi::start_info::StartInfo;
use pv_guest_logic::options;
use spin::Once;

use crate::cpu_ops::{self, machine, native, pv};
use crate::mm::domain::Given;
use crate::mm::{self, Boot};
use crate::{arch, console, cpu, event, fs, info, kprintln, process, role, trap, tty, xenstore};

static COMMAND_LINE: Once<String> = Once::new();

/// The words the domain's configuration passed.
pub fn cmdline() -> &'static str {
    COMMAND_LINE.get().map_or("", String::as_str)
}

fn log_level() -> log::LevelFilter {
    options::value(cmdline(), "loglevel")
        .and_then(|level| level.parse().ok())
        .unwrap_or(log::LevelFilter::Warn)
}

fn start_init() {
    let file = fs::open_exec("/init").expect("the initramfs holds /init");
    let mut argv: Vec<Vec<u8>> = alloc::vec![b"/init".to_vec()];
    let words = cmdline().split_ascii_whitespace().skip_while(|&word| word != "--").skip(1);
    argv.extend(words.map(|word| word.as_bytes().to_vec()));
    let envp: Vec<Vec<u8>> =
        ["HOME=/", "PATH=/bin", "TERM=linux"].iter().map(|text| text.as_bytes().to_vec()).collect();
    process::exec::spawn_init(&file, &argv, &envp).expect("/init can be executed");
}

/// Devices that a hypervisor has made for the domain; a bare machine's are found where a PC has them.
struct Domain {
    given: Given,
    /// The ports of the console and of xenstore.
    ports: (u32, u32),
}

/// Entered from `_start` on the boot stack, by a hypervisor.
#[unsafe(no_mangle)]
extern "C" fn kernel_main(start_info: *const StartInfo) -> ! {
    // SAFETY: this is the boot stack, and nothing ran before.
    unsafe { cpu::init_first() };
    cpu_ops::choose();
    // SAFETY: the hypervisor passes start_info mapped in the boot mapping; the copy outlives that mapping.
    let start = unsafe { start_info.read() };
    assert!(start.has_magic(), "start_info has no magic");
    role::run_early(core::str::from_utf8(start.command_line()).unwrap_or_default());
    // SAFETY: this is the one call, before anything else uses memory.
    let (boot, given) = unsafe { mm::domain::take_over(&start) };
    pv::map_shared_page(start.shared_info);
    let domain = Domain { given, ports: (start.console_evtchn, start.store_evtchn) };
    run(boot, String::from_utf8_lossy(start.command_line()).into_owned(), Some(domain))
}

/// Entered from [`native`]'s first instructions on the boot stack, by a boot loader; `info` is the physical address of
/// `hvm_start_info`.
#[unsafe(no_mangle)]
extern "C" fn native_main(info: u64) -> ! {
    // SAFETY: this is the boot stack, and nothing ran before.
    unsafe { cpu::init_first() };
    cpu_ops::choose_native();
    // SAFETY: this is the one call, before anything else uses memory.
    let (boot, command_line) = unsafe { mm::machine::take_over(info) };
    native::configure_exit(&command_line);
    role::run_early(&command_line);
    run(boot, command_line, None)
}

/// What is the same wherever this kernel was started.
fn run(boot: Boot, command_line: String, domain: Option<Domain>) -> ! {
    let Boot { kernel_root, initrd } = boot;
    mm::set_kernel_root(kernel_root);
    machine().mask_events();
    cpu::lock::acquire();
    cpu::this().set_root(kernel_root.mfn());
    machine().set_kernel_stack(arch::boot::boot_stack().top());
    if domain.is_some() {
        event::init();
    }
    trap::init();
    arch::fpu::enable();
    COMMAND_LINE.call_once(|| command_line);
    match &domain {
        Some(Domain { given, ports: (port, _) }) => console::init(given.console, *port),
        None => console::init_serial(),
    }
    console::init_log(log_level());
    cpu::hotplug::init_first();
    kprintln!(
        "Paravane guest kernel {} on {}: ring {}, {} KiB, {} free frames, clock {} ns",
        env!("CARGO_PKG_VERSION"),
        info::machine_name(),
        info::kernel_ring(),
        mm::addr::nr_pages() * 4,
        mm::free_frames(),
        crate::time::monotonic_ns(),
    );
    role::run_if_any(!initrd.is_empty());
    cpu::hotplug::bring_up_all();
    if let Some(Domain { given, ports: (_, port) }) = domain {
        xenstore::init(given.store, port);
    }
    fs::init(initrd);
    tty::init();
    start_init();
    process::sched::idle_loop()
}
