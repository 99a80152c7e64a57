//! Demand paging: mapping costs nothing, touching a page brings one frame, unmapping gives it back; file
//! pages show the file; protection is enforced.
#![no_std]
#![no_main]

use ulib::process::Status;
use ulib::report::Report;
use ulib::sys::{self, PROT_READ, PROT_WRITE};
use ulib::trap::{self, vector};
use ulib::{Args, file, memory};

ulib::entry!(main);

const PAGE: usize = 4096;
const PAGES: usize = 4096;
const TOUCHED: usize = 10;

fn main(_args: &Args) -> i32 {
    let mut report = Report::new();
    for (name, test) in [
        ("demand-paging", demand as fn(&mut Report) -> sys::Result<()>),
        ("file-mapping", file_mapping),
        ("protection", protection),
    ] {
        if let Err(error) = test(&mut report) {
            report.check(name, false, format_args!("{error}"));
        }
    }
    report.code()
}

fn demand(report: &mut Report) -> sys::Result<()> {
    memory::free_frames()?;
    let start = memory::free_frames()?;
    let at = sys::mmap_anonymous(PAGES * PAGE, PROT_READ | PROT_WRITE)?;
    let mapped = memory::free_frames()?;
    let mut zero = true;
    for index in 0..TOUCHED {
        let page = at.wrapping_add(index * (PAGES / TOUCHED) * PAGE);
        // SAFETY: inside the fresh mapping, which nobody else uses.
        unsafe {
            zero &= page.read_volatile() == 0;
            page.write_volatile(1);
        }
    }
    let touched = memory::free_frames()?;
    // SAFETY: nobody uses the mapping any more.
    unsafe { sys::munmap(at, PAGES * PAGE)? };
    let end = memory::free_frames()?;
    let (map_cost, touch_cost) = (start.saturating_sub(mapped), mapped.saturating_sub(touched));
    report.check(
        "demand-paging",
        zero && map_cost < 8 && (TOUCHED..3 * TOUCHED + 4).contains(&touch_cost) && end == start,
        format_args!(
            "{PAGES} pages mapped: {map_cost} frames; {TOUCHED} touched: {touch_cost}; unmapped: all back"
        ),
    );
    Ok(())
}

fn file_mapping(report: &mut Report) -> sys::Result<()> {
    let path = "/etc/motd";
    let content = file::read(path)?;
    let fd = sys::open(&ulib::text::c_string(path), sys::O_RDONLY, 0)?;
    let at = sys::mmap_file(fd, content.len())?;
    sys::close(fd)?;
    // SAFETY: the mapping covers the file's length and stays until the program ends.
    let mapped = unsafe { core::slice::from_raw_parts(at, content.len()) };
    // SAFETY: the rest of the file's last page is mapped with it.
    let tail = unsafe { at.add(content.len().next_multiple_of(PAGE) - 1).read_volatile() };
    let good = !content.is_empty() && mapped == content && tail == 0;
    report.check("file-mapping", good, format_args!("{} bytes of {path}, then zeros", content.len()));
    Ok(())
}

fn protection(report: &mut Report) -> sys::Result<()> {
    let at = sys::mmap_anonymous(PAGE, PROT_READ | PROT_WRITE)?;
    // SAFETY: the fresh mapping is ours, and only volatile accesses through `at` follow.
    unsafe {
        at.write_volatile(7);
        sys::mprotect(at, PAGE, PROT_READ)?;
    }
    let write = trap::provoke(|| {
        // SAFETY: faults by design.
        unsafe { at.write_volatile(8) };
        0
    })?;
    let refused = matches!(write, (Status::Killed(11), Some(fault))
        if fault.vector == vector::PAGE_FAULT && fault.address == at as u64);
    // SAFETY: readable again and still ours.
    let value = unsafe { at.read_volatile() };
    report.check(
        "protection",
        refused && value == 7,
        format_args!("a write to a read-only page kills the writer"),
    );
    Ok(())
}
