//! The kernel's main function, and what it was told on the command line.

use alloc::string::String;
use alloc::vec::Vec;

use paravane_abi::start_info::StartInfo;
use pv_guest_logic::options;
use spin::Once;

use crate::cpu_ops::{self, CpuOps, machine, pv};
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

/// Entered from `_start` on the boot stack.
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
    let Boot { kernel_root, console, store, initrd } = unsafe { mm::take_over(&start) };
    mm::set_kernel_root(kernel_root);
    pv::map_shared_page(start.shared_info);
    machine().mask_events();
    cpu::lock::acquire();
    cpu::this().set_root(kernel_root.mfn());
    machine().set_kernel_stack(arch::boot::boot_stack().top());
    event::init();
    trap::init();
    arch::fpu::enable();
    COMMAND_LINE.call_once(|| String::from_utf8_lossy(start.command_line()).into_owned());
    console::init(console, start.console_evtchn);
    console::init_log(log_level());
    cpu::hotplug::init_first();
    kprintln!(
        "Paravane guest kernel {} on {}: ring {}, {} KiB, {} free frames, clock {} ns",
        env!("CARGO_PKG_VERSION"),
        info::machine_name(),
        info::kernel_ring(),
        start.nr_pages * 4,
        mm::free_frames(),
        crate::time::monotonic_ns(),
    );
    role::run_if_any(!initrd.is_empty());
    cpu::hotplug::bring_up_all();
    xenstore::init(store, start.store_evtchn);
    fs::init(initrd);
    tty::init();
    start_init();
    process::sched::idle_loop()
}
