//! exec: the new program gets its words and environment; a missing or broken file is refused.
#![no_std]
#![no_main]

use ulib::process::{self, Status};
use ulib::report::Report;
use ulib::{Args, Errno, io, println, sys, text};

ulib::entry!(main);

fn main(args: &Args) -> i32 {
    if args.get(1) == "child" {
        println!(
            "{} words, last {}, path {}",
            args.len(),
            args.get(args.len() - 1),
            args.var("PATH").unwrap_or("-")
        );
        return 42;
    }
    let mut report = Report::new();
    let long = "x".repeat(3000);
    let words = ["exec", "child", "two words", "", &long, "end"];
    let good = process::output("/bin/exec", &words);
    let expected = b"6 words, last end, path /bin\n";
    let matches = matches!(&good, Ok((Status::Exited(42), text)) if text == expected);
    report.check("exec", matches, format_args!("words and environment arrive, status 42"));

    let missing = process::exec("/bin/no-such-program", &["x"]);
    let path = "/tmp/exec-not-a-program";
    let written = sys::open(&text::c_string(path), sys::O_WRONLY | sys::O_CREAT, 0o755).and_then(|fd| {
        io::write_all(fd, b"\x7fELF but no more than that")?;
        sys::close(fd)
    });
    let broken = process::exec(path, &["x"]);
    let _ = sys::unlink(&text::c_string(path));
    report.check(
        "exec-refused",
        missing == Errno::ENOENT && written.is_ok() && broken == Errno::ENOEXEC,
        format_args!("missing file: {missing}; broken file: {broken}; this program goes on"),
    );
    report.code()
}
