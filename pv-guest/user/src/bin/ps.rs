//! Lists the processes.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::vec::Vec;
use ulib::{Args, eprintln, file, println};

ulib::entry!(main);

fn main(_args: &Args) -> i32 {
    let entries = match file::list("/proc") {
        Ok(entries) => entries,
        Err(error) => {
            eprintln!("ps: /proc: {error}");
            return 1;
        }
    };
    let mut pids: Vec<u32> = entries.iter().filter_map(|(name, _)| name.parse().ok()).collect();
    pids.sort_unstable();
    println!("{:>5} {:>5} {:>5} NAME", "PID", "PPID", "GROUP");
    for pid in pids {
        // A process may end between the listing and the reading.
        let Ok(stat) = file::read_text(&format!("/proc/{pid}/stat")) else { continue };
        let (Some(open), Some(close)) = (stat.find('('), stat.rfind(')')) else { continue };
        let name = &stat[open + 1..close];
        let mut fields = stat[close + 1..].split_whitespace().skip(1);
        let (parent, group) = (fields.next().unwrap_or("?"), fields.next().unwrap_or("?"));
        println!("{pid:>5} {parent:>5} {group:>5} {name}");
    }
    0
}
