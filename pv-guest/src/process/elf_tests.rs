use super::*;
use crate::backing::StaticFile;

const BASE: u64 = 0x40_0000;

fn header() -> FileHeader {
    FileHeader {
        magic: *b"\x7fELF",
        class: 2,
        data: 1,
        ident_rest: [0; 10],
        kind: ET_EXEC,
        machine: EM_X86_64,
        version: 1,
        entry: BASE + 0x80,
        phoff: 64,
        shoff: 0,
        flags: 0,
        ehsize: 64,
        phentsize: 56,
        phnum: 1,
        shentsize: 0,
        shnum: 0,
        shstrndx: 0,
    }
}

fn segment() -> ProgramHeader {
    ProgramHeader {
        kind: PT_LOAD,
        flags: PF_R | PF_X,
        offset: 0,
        vaddr: BASE,
        paddr: BASE,
        filesz: 0x200,
        memsz: 0x1200,
        align: PAGE,
    }
}

fn parse_file(header: FileHeader, segments: &[ProgramHeader]) -> Result<Program> {
    let header = FileHeader { phnum: segments.len() as u16, ..header };
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(segments.iter().flat_map(|segment| segment.as_bytes().to_vec()));
    bytes.resize(0x1000, 0);
    parse(&StaticFile::new(1, bytes.leak()))
}

#[test]
fn a_program_is_read() {
    let program = parse_file(header(), &[segment()]).expect("it is sound");
    assert_eq!((program.entry, program.bias), (BASE + 0x80, 0));
    assert_eq!((program.headers_at, program.header_count), (BASE + 64, 1));
    assert_eq!(program.segments.len(), 1);
}

#[test]
fn a_position_independent_program_is_moved() {
    let header = FileHeader { kind: ET_DYN, entry: 0x80, ..header() };
    let program = parse_file(header, &[ProgramHeader { vaddr: 0, ..segment() }]).expect("it is sound");
    assert_eq!(program.entry, PIE_BASE + 0x80);
    assert_eq!(program.headers_at, PIE_BASE + 64);
}

#[test]
fn other_files_are_refused() {
    for bad in [
        FileHeader { magic: *b"#!/b", ..header() },
        FileHeader { class: 1, ..header() },
        FileHeader { data: 2, ..header() },
        FileHeader { machine: 183, ..header() },
        FileHeader { kind: 1, ..header() },
        FileHeader { phentsize: 32, ..header() },
        FileHeader { phoff: u64::MAX - 8, ..header() },
        FileHeader { phoff: 0x10_0000, ..header() },
        FileHeader { entry: USER_END, ..header() },
    ] {
        assert_eq!(parse_file(bad, &[segment()]).err(), Some(Errno::ENOEXEC));
    }
    assert_eq!(parse(&StaticFile::new(1, b"\x7fELF")).err(), Some(Errno::ENOEXEC));
    assert_eq!(parse_file(header(), &[]).err(), Some(Errno::ENOEXEC));
}

#[test]
fn segments_outside_the_user_range_are_refused() {
    for bad in [
        ProgramHeader { vaddr: 0, ..segment() },
        ProgramHeader { vaddr: USER_END - PAGE, ..segment() },
        ProgramHeader { vaddr: 0xffff_8800_0000_0000, ..segment() },
        ProgramHeader { vaddr: !(PAGE - 1), ..segment() },
        ProgramHeader { memsz: u64::MAX, ..segment() },
        ProgramHeader { memsz: 0x100, ..segment() },
        ProgramHeader { offset: 1, ..segment() },
        ProgramHeader { offset: !(PAGE - 1), filesz: 0x1200, ..segment() },
        ProgramHeader { kind: PT_INTERP, ..segment() },
    ] {
        assert_eq!(parse_file(header(), &[bad]).err(), Some(Errno::ENOEXEC));
    }
}

#[test]
fn segments_that_share_a_page_are_refused() {
    let next = |vaddr| ProgramHeader { vaddr, offset: vaddr % PAGE, ..segment() };
    assert!(parse_file(header(), &[segment(), next(BASE + 2 * PAGE)]).is_ok());
    assert_eq!(parse_file(header(), &[segment(), next(BASE + PAGE + 0x300)]).err(), Some(Errno::ENOEXEC));
    assert_eq!(parse_file(header(), &[next(BASE + 2 * PAGE), segment()]).err(), Some(Errno::ENOEXEC));
}
