//! Files made at run time: created, appended to, read back at an offset shared after fork, removed.
#![no_std]
#![no_main]

use ulib::process::{self, Status};
use ulib::report::Report;
use ulib::{Args, Errno, file, io, sys};

ulib::entry!(main);

fn main(_args: &Args) -> i32 {
    let mut report = Report::new();
    let outcome = tree();
    report.check(
        "files",
        outcome == Ok(true),
        format_args!("make, append, list, remove: {}", text(&outcome)),
    );
    let outcome = shared_offset();
    report.check(
        "file-offset",
        outcome == Ok(true),
        format_args!("parent and child share it: {}", text(&outcome)),
    );
    let zeros = (|| {
        let fd = sys::open(c"/dev/zero", sys::O_RDONLY, 0)?;
        let mut buf = [1; 100];
        let length = sys::read(fd, &mut buf)?;
        sys::close(fd)?;
        file::write("/dev/null", b"gone")?;
        Ok(length == 100 && buf == [0; 100] && file::read("/dev/null")?.is_empty())
    })();
    report.check("devices", zeros == Ok(true), format_args!("/dev/zero and /dev/null: {}", text(&zeros)));
    report.code()
}

fn text(outcome: &sys::Result<bool>) -> &'static str {
    match outcome {
        Ok(true) => "as expected",
        Ok(false) => "wrong content",
        Err(error) => error.text(),
    }
}

fn tree() -> sys::Result<bool> {
    sys::mkdir(c"/tmp/files", 0o755)?;
    file::write("/tmp/files/a", b"one")?;
    let fd = sys::open(c"/tmp/files/a", sys::O_WRONLY | sys::O_APPEND, 0)?;
    io::write_all(fd, b" two")?;
    sys::close(fd)?;
    let content = file::read("/tmp/files/../files/./a")?;
    let names = file::list("/tmp/files")?;
    let full = sys::rmdir(c"/tmp/files");
    sys::unlink(c"/tmp/files/a")?;
    sys::rmdir(c"/tmp/files")?;
    let gone = sys::open(c"/tmp/files/a", sys::O_RDONLY, 0);
    Ok(content == b"one two"
        && matches!(&names[..], [(name, 8)] if name == "a")
        && full == Err(Errno::ENOTEMPTY)
        && gone == Err(Errno::ENOENT))
}

fn shared_offset() -> sys::Result<bool> {
    file::write("/tmp/offset", b"abcdef")?;
    let fd = sys::open(c"/tmp/offset", sys::O_RDONLY, 0)?;
    // An unlinked file lives as long as somebody has it open.
    sys::unlink(c"/tmp/offset")?;
    let status = process::run(|| {
        let mut three = [0; 3];
        i32::from(sys::read(fd, &mut three) != Ok(3) || &three != b"abc")
    })?;
    let mut three = [0; 3];
    let length = sys::read(fd, &mut three)?;
    sys::close(fd)?;
    Ok(status == Status::Exited(0) && length == 3 && &three == b"def")
}
