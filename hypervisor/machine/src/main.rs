//! The Paravane hypervisor image.
#![no_std]
#![no_main]

/// Stops the machine; replaced once the boot path lands.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
