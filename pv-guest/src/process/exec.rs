//! Executing a program: a fresh address space, the file's segments, and the stack that the System V ABI prescribes.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::arch::x86_64::__cpuid;
use core::ptr;
use core::sync::atomic::Ordering;

use pv_guest_logic::elf::{self, PF_R, PF_W, PF_X, Program, ProgramHeader};

use super::{Process, current, fork};
use crate::arch::frame::Frame;
use crate::arch::stack;
use crate::cpu_ops::{SegmentBase, Selectors, facts, machine};
use crate::errno::{Errno, Result};
use crate::fs::Files;
use crate::mm::addr::{PAGE, page_down, page_up};
use crate::mm::area::{Area, Backing, Prot};
use crate::mm::backing::FileBacking;
use crate::mm::space::AddressSpace;
use crate::mm::user;
use crate::random;

/// The end of the stack, one page below the end of user addresses.
const STACK_TOP: u64 = 0x7fff_ffff_e000;
const STACK_SIZE: u64 = 8 * 1024 * 1024;
/// Arguments and environment together.
const MAX_ARGUMENTS: usize = 128 * 1024;

const AT_NULL: u64 = 0;
const AT_PHDR: u64 = 3;
const AT_PHENT: u64 = 4;
const AT_PHNUM: u64 = 5;
const AT_PAGESZ: u64 = 6;
const AT_BASE: u64 = 7;
const AT_FLAGS: u64 = 8;
const AT_ENTRY: u64 = 9;
const AT_UID: u64 = 11;
const AT_EUID: u64 = 12;
const AT_GID: u64 = 13;
const AT_EGID: u64 = 14;
const AT_PLATFORM: u64 = 15;
const AT_HWCAP: u64 = 16;
const AT_CLKTCK: u64 = 17;
const AT_SECURE: u64 = 23;
const AT_RANDOM: u64 = 25;
const AT_EXECFN: u64 = 31;

fn protection(flags: u32) -> Prot {
    let mut prot = Prot::empty();
    prot.set(Prot::READ, flags & PF_R != 0);
    prot.set(Prot::WRITE, flags & PF_W != 0);
    prot.set(Prot::EXEC, flags & PF_X != 0);
    prot
}

/// Maps one segment; gives its end.
fn map_segment(file: &Arc<dyn FileBacking>, segment: &ProgramHeader, bias: u64) -> Result<u64> {
    let prot = protection(segment.flags);
    let start = segment.vaddr + bias;
    let file_end = start + segment.filesz;
    let end = start + segment.memsz;
    let first = page_down(start);
    let split = if segment.filesz == 0 { first } else { page_up(file_end) };
    let process = current();
    if split > first {
        let backing = Backing { file: file.clone(), offset: page_down(segment.offset) };
        let area = Area { end: 0, prot, shared: false, backing: Some(backing) };
        process.space.lock().map(first, split - first, area, true, false)?;
    }
    if page_up(end) > split {
        let area = Area { end: 0, prot, shared: false, backing: None };
        process.space.lock().map(split, page_up(end) - split, area, true, false)?;
    }
    // What follows the file's bytes in their last page belongs to the zeros.
    if end > file_end && split > file_end && prot.contains(Prot::WRITE) {
        user::zero(file_end, (split - file_end) as usize)?;
    }
    Ok(end)
}

/// Writes to the new stack, downwards.
struct StackWriter(u64);

impl StackWriter {
    fn bytes(&mut self, bytes: &[u8]) -> Result<u64> {
        self.0 -= bytes.len() as u64;
        user::write_bytes(self.0, bytes)?;
        Ok(self.0)
    }

    fn string(&mut self, text: &[u8]) -> Result<u64> {
        self.bytes(&[0])?;
        self.bytes(text)
    }
}

/// Builds the initial stack; gives RSP.
fn build_stack(program: &Program, name: &str, argv: &[Vec<u8>], envp: &[Vec<u8>]) -> Result<u64> {
    let area = Area { end: 0, prot: Prot::READ | Prot::WRITE, shared: false, backing: None };
    current().space.lock().map(STACK_TOP - STACK_SIZE, STACK_SIZE, area, true, false)?;
    let mut stack = StackWriter(STACK_TOP - 16);
    let file_name = stack.string(name.as_bytes())?;
    let platform = stack.string(b"x86_64")?;
    let mut seed = [0; 16];
    seed[..8].copy_from_slice(&random::next().to_le_bytes());
    seed[8..].copy_from_slice(&random::next().to_le_bytes());
    let random_bytes = stack.bytes(&seed)?;
    let mut strings =
        |list: &[Vec<u8>]| -> Result<Vec<u64>> { list.iter().map(|text| stack.string(text)).collect() };
    let environment = strings(envp)?;
    let arguments = strings(argv)?;
    let mut words: Vec<u64> = Vec::new();
    words.push(arguments.len() as u64);
    words.extend(arguments);
    words.push(0);
    words.extend(environment);
    words.push(0);
    let auxiliary = [
        (AT_PHDR, program.headers_at),
        (AT_PHENT, size_of::<ProgramHeader>() as u64),
        (AT_PHNUM, program.header_count),
        (AT_PAGESZ, PAGE),
        (AT_BASE, 0),
        (AT_FLAGS, 0),
        (AT_ENTRY, program.entry),
        (AT_UID, 0),
        (AT_EUID, 0),
        (AT_GID, 0),
        (AT_EGID, 0),
        (AT_SECURE, 0),
        (AT_HWCAP, u64::from(__cpuid(1).edx)),
        (AT_CLKTCK, 100),
        (AT_RANDOM, random_bytes),
        (AT_PLATFORM, platform),
        (AT_EXECFN, file_name),
        (AT_NULL, 0),
    ];
    words.extend(auxiliary.into_iter().flat_map(|(key, value)| [key, value]));
    let rsp = (stack.0 - words.len() as u64 * 8) & !15;
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    user::write_bytes(rsp, &bytes)?;
    Ok(rsp)
}

/// Loads a program into the current process's address space, which is empty and loaded; gives entry and RSP.
fn load(
    program: &Program,
    file: &Arc<dyn FileBacking>,
    name: &str,
    argv: &[Vec<u8>],
    envp: &[Vec<u8>],
) -> Result<(u64, u64)> {
    let mut end = 0;
    for segment in &program.segments {
        end = end.max(map_segment(file, segment, program.bias)?);
    }
    current().space.lock().set_brk_start(end);
    let rsp = build_stack(program, name, argv, envp)?;
    Ok((program.entry, rsp))
}

/// The registers a program starts with.
pub fn start_frame(entry: u64, rsp: u64) -> Frame {
    let Selectors { code, stack } = facts().user;
    Frame { rip: entry, cs: u64::from(code), rflags: 0x202, rsp, ss: u64::from(stack), ..Frame::default() }
}

fn swap_space(process: &Process, space: AddressSpace) -> AddressSpace {
    let mut slot = process.space.lock();
    machine().load_base(space.root().mfns());
    core::mem::replace(&mut *slot, space)
}

/// Replaces the current process's program. On success `frame` enters the new one; on failure nothing has changed. A process
/// with several threads cannot: `EAGAIN`.
pub fn execve(
    frame: &mut Frame,
    file: Arc<dyn FileBacking>,
    name: &str,
    argv: &[Vec<u8>],
    envp: &[Vec<u8>],
) -> Result<()> {
    let total: usize = argv.iter().chain(envp).map(|text| text.len() + 9).sum();
    if total > MAX_ARGUMENTS {
        return Err(Errno::E2BIG);
    }
    let program = elf::parse(&*file)?;
    let process = current();
    // The other threads run the old program in the same memory.
    if process.space.lock().users() > 1 {
        return Err(Errno::EAGAIN);
    }
    let old = swap_space(process, AddressSpace::new()?);
    match load(&program, &file, name, argv, envp) {
        Ok((entry, rsp)) => {
            *frame = start_frame(entry, rsp);
        }
        Err(error) => {
            drop(swap_space(process, old));
            return Err(error);
        }
    }
    drop(old);
    *process.name.lock() = String::from(name);
    process.fs_base.store(0, Ordering::Relaxed);
    process.gs_base.store(0, Ordering::Relaxed);
    for base in [SegmentBase::Fs, SegmentBase::Gs] {
        machine().set_segment_base(base, 0).expect("0 is a base");
    }
    process.fpu.reset();
    process.fpu.restore();
    process.set_clear_tid(0);
    process.signals.lock().reset_handlers();
    process.files.lock().on_exec();
    process.release_parent();
    Ok(())
}

/// Makes the first process, which enters ring 3 by executing `file` when it is first scheduled.
///
/// The program is loaded from the boot stack: nothing else runs yet, and this CPU is not idle.
pub fn spawn_init(file: &Arc<dyn FileBacking>, argv: &[Vec<u8>], envp: &[Vec<u8>]) -> Result<()> {
    let program = elf::parse(&**file)?;
    let process = fork::first(AddressSpace::new()?, Files::new_console(), &Frame::default())?;
    machine().load_base(process.space.lock().root().mfns());
    // User copies and area changes work on the current process.
    let borrowed = &stack::info().process;
    borrowed.store(Arc::as_ptr(&process).cast_mut(), Ordering::Relaxed);
    let name = argv.first().map(|name| String::from_utf8_lossy(name).into_owned()).unwrap_or_default();
    let loaded = load(&program, file, &name, argv, envp);
    borrowed.store(ptr::null_mut(), Ordering::Relaxed);
    let (entry, rsp) = loaded?;
    *process.name.lock() = name;
    process.set_start(&start_frame(entry, rsp));
    Ok(())
}
