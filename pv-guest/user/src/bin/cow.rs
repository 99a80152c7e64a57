//! Copy-on-write: fork shares the pages, a write copies one, and neither side sees the other's writes.
#![no_std]
#![no_main]

use ulib::process::{self, Status};
use ulib::report::Report;
use ulib::sys::{self, PROT_READ, PROT_WRITE};
use ulib::{Args, memory, report};

ulib::entry!(main);

const PAGE: usize = 4096;
const PAGES: usize = 256;

fn main(_args: &Args) -> i32 {
    let mut report = Report::new();
    if let Err(error) = test(&mut report) {
        report.check("cow", false, format_args!("{error}"));
    }
    report.code()
}

fn test(report: &mut report::Report) -> sys::Result<()> {
    let at = sys::mmap_anonymous(PAGES * PAGE, PROT_READ | PROT_WRITE)?;
    // SAFETY: a fresh mapping of this length that only this function uses.
    let area = unsafe { core::slice::from_raw_parts_mut(at, PAGES * PAGE) };
    for (index, page) in area.chunks_mut(PAGE).enumerate() {
        page[0] = index as u8;
    }
    let before = memory::free_frames()?;
    let (reader, writer) = sys::pipe()?;
    let pid = process::spawn(|| {
        let shared = memory::free_frames().unwrap_or(0);
        let kept = area.chunks(PAGE).enumerate().all(|(index, page)| page[0] == index as u8);
        for page in area.chunks_mut(PAGE) {
            page[0] ^= 0xff;
        }
        let copied = memory::free_frames().unwrap_or(0);
        let changed = area.chunks(PAGE).enumerate().all(|(index, page)| page[0] == !(index as u8));
        let mut message = [0; 16];
        message[..8].copy_from_slice(&(shared as u64).to_le_bytes());
        message[8..].copy_from_slice(&(copied as u64).to_le_bytes());
        i32::from(!(kept && changed) || ulib::io::write_all(writer, &message).is_err())
    })?;
    let status = process::wait(pid)?;
    let mut message = [0; 16];
    let got = sys::read(reader, &mut message)?;
    sys::close(reader)?;
    sys::close(writer)?;
    let word =
        |half: usize| u64::from_le_bytes(message[half * 8..][..8].try_into().unwrap_or_default()) as usize;
    let (shared, copied) = (word(0), word(1));
    let untouched = area.chunks(PAGE).enumerate().all(|(index, page)| page[0] == index as u8);
    report.check(
        "cow",
        untouched && status == Status::Exited(0) && got == 16,
        format_args!("copy-on-write: the child changed {PAGES} pages, the parent sees its own"),
    );
    // The child's own tables and stack cost frames too; copying the area would cost all its pages at once.
    let (fork_cost, write_cost) = (before.saturating_sub(shared), shared.saturating_sub(copied));
    report.check(
        "cow-frames",
        fork_cost < PAGES / 2 && (PAGES..PAGES + PAGES / 2).contains(&write_cost),
        format_args!("copy-on-write: fork took {fork_cost} frames, the writes {write_cost}"),
    );
    Ok(())
}
