//! The shell: programs from /bin with arguments, quotes, `$?`, pipes, `<` `>` `>>`, `&`, `;`, `&&`, `||`.
//! On a terminal every job runs in a process group of its own, so Ctrl-C reaches the job alone.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use ulib::parse::{self, Command, Connector, Pipeline, Word};
use ulib::process::{self, Disposition, Status, set_signal, signal};
use ulib::text::c_string;
use ulib::{Args, Errno, eprintln, io, print, println, sys};

ulib::entry!(main);

const HELP: &str = "\
programs: everything in /bin (ls /bin); what is not there is tried as a BusyBox applet
built in: cd [DIR], echo, exit [N], help, kill [-N] PID, poweroff, pwd, reboot, wait
syntax:   a | b   a < in > out   a >> out   a &   a ; b   a && b   a || b   'x' \"$?\"
demo runs every feature; Ctrl-C ends the program in the foreground, Ctrl-D or exit the shell";

struct Shell {
    interactive: bool,
    status: i32,
    home: &'static str,
    path: &'static str,
    background: Vec<usize>,
}

fn main(args: &Args) -> i32 {
    let script = (args.get(1) == "-c").then(|| args.get(2));
    let mut shell = Shell {
        interactive: script.is_none() && io::is_terminal(io::STDIN),
        status: 0,
        home: args.var("HOME").unwrap_or("/"),
        path: args.var("PATH").unwrap_or("/bin"),
        background: Vec::new(),
    };
    if let Some(script) = script {
        for line in script.lines() {
            shell.line(line);
        }
        return shell.status;
    }
    if shell.interactive {
        shell.take_terminal();
    }
    shell.read_lines();
    shell.status
}

impl Shell {
    fn take_terminal(&self) {
        let _ = set_signal(signal::SIGINT, Disposition::Interrupt);
        let _ = set_signal(signal::SIGQUIT, Disposition::Ignore);
        // A background group that changes the terminal gets SIGTTOU; the shell does so after every job.
        let _ = set_signal(signal::SIGTTOU, Disposition::Ignore);
        let _ = sys::setpgid(0, 0);
        let _ = sys::set_foreground(io::STDIN, sys::getpid());
    }

    fn read_lines(&mut self) {
        loop {
            self.reap();
            if self.interactive {
                print!("$ ");
            }
            match read_line() {
                Ok(Some(line)) => self.line(&line),
                Ok(None) => {
                    if self.interactive {
                        println!();
                    }
                    return;
                }
                // Ctrl-C at the prompt: a new line.
                Err(Errno::EINTR) => println!(),
                Err(error) => {
                    eprintln!("sh: {error}");
                    self.status = 1;
                    return;
                }
            }
        }
    }

    /// Reports background jobs that have ended.
    fn reap(&mut self) {
        let interactive = self.interactive;
        self.background.retain(|&pid| match sys::wait4(pid as isize, sys::WNOHANG) {
            Ok((0, _)) => true,
            Ok((_, raw)) => {
                if interactive {
                    println!("[{pid}] {}", Status::from_raw(raw));
                }
                false
            }
            Err(_) => false,
        });
    }

    fn line(&mut self, line: &str) {
        let pipelines = match parse::parse(line) {
            Ok(pipelines) => pipelines,
            Err(error) => {
                eprintln!("sh: {error}");
                self.status = 2;
                return;
            }
        };
        let mut skip = false;
        for pipeline in &pipelines {
            if !skip {
                self.run(pipeline);
            }
            skip = match pipeline.connector {
                Connector::And => self.status != 0,
                Connector::Or => self.status == 0,
                Connector::Then | Connector::Background => false,
            };
        }
    }

    fn expand(&self, word: &Word) -> String {
        parse::expand(word, |name| match name {
            "?" => self.status.to_string(),
            "HOME" => self.home.into(),
            "PATH" => self.path.into(),
            _ => String::new(),
        })
    }

    fn words(&self, command: &Command) -> Vec<String> {
        command.words.iter().map(|word| self.expand(word)).collect()
    }

    fn run(&mut self, pipeline: &Pipeline) {
        if let [command] = &pipeline.commands[..]
            && pipeline.connector != Connector::Background
            && command.input.is_none()
            && command.output.is_none()
        {
            let words = self.words(command);
            if let Some(status) = self.builtin(&words) {
                self.status = status;
                return;
            }
        }
        match self.start(&pipeline.commands) {
            Ok(pids) if pipeline.connector == Connector::Background => {
                if let (Some(pid), true) = (pids.last(), self.interactive) {
                    println!("[{pid}]");
                }
                self.background.extend(pids);
                self.status = 0;
            }
            Ok(pids) => self.wait_foreground(&pids),
            Err(error) => {
                eprintln!("sh: {error}");
                self.status = 1;
            }
        }
    }

    /// Forks one child for each command, joined by pipes.
    fn start(&mut self, commands: &[Command]) -> sys::Result<Vec<usize>> {
        let mut pids: Vec<usize> = Vec::new();
        let mut input = None;
        for (index, command) in commands.iter().enumerate() {
            let next = if index + 1 < commands.len() { Some(sys::pipe()?) } else { None };
            let group = pids.first().copied().unwrap_or(0);
            let pid = process::spawn(|| {
                if self.interactive {
                    let _ = sys::setpgid(0, group);
                    for signal in [signal::SIGINT, signal::SIGQUIT, signal::SIGTTOU] {
                        let _ = set_signal(signal, Disposition::Default);
                    }
                }
                if let Some((reader, _)) = next {
                    let _ = sys::close(reader);
                }
                move_to(input, io::STDIN);
                move_to(next.map(|(_, writer)| writer), io::STDOUT);
                self.child(command)
            })?;
            if self.interactive {
                // Both sides do it: whichever runs first, the group exists when the next step needs it.
                let _ = sys::setpgid(pid, group);
            }
            if let Some(reader) = input {
                sys::close(reader)?;
            }
            if let Some((_, writer)) = next {
                sys::close(writer)?;
            }
            input = next.map(|(reader, _)| reader);
            pids.push(pid);
        }
        Ok(pids)
    }

    /// The child's part: files, then the program or the built-in command.
    fn child(&mut self, command: &Command) -> i32 {
        let output_flags =
            |append| sys::O_WRONLY | sys::O_CREAT | if append { sys::O_APPEND } else { sys::O_TRUNC };
        let input = command.input.as_ref().map(|file| (file, sys::O_RDONLY, io::STDIN));
        let output = command.output.as_ref().map(|(file, append)| (file, output_flags(*append), io::STDOUT));
        for (file, flags, target) in input.into_iter().chain(output) {
            let path = self.expand(file);
            match sys::open(&c_string(&path), flags, 0o644) {
                Ok(fd) => move_to(Some(fd), target),
                Err(error) => {
                    eprintln!("sh: {path}: {error}");
                    return 1;
                }
            }
        }
        let words = self.words(command);
        if let Some(status) = self.builtin(&words) {
            return status;
        }
        self.exec(&words)
    }

    fn exec(&self, words: &[String]) -> i32 {
        let mut list: Vec<&str> = words.iter().map(String::as_str).collect();
        let name = list[0];
        if name.contains('/') {
            let error = process::exec(name, &list);
            eprintln!("sh: {name}: {error}");
            return if error == Errno::ENOENT { 127 } else { 126 };
        }
        for directory in self.path.split(':') {
            let error = process::exec(&format!("{directory}/{name}"), &list);
            if error != Errno::ENOENT {
                eprintln!("sh: {name}: {error}");
                return 126;
            }
        }
        list.insert(0, "busybox");
        let error = process::exec("/bin/busybox", &list);
        eprintln!("sh: {name}: {error}");
        127
    }

    fn wait_foreground(&mut self, pids: &[usize]) {
        let Some((&first, &last)) = pids.first().zip(pids.last()) else { return };
        if self.interactive {
            let _ = sys::set_foreground(io::STDIN, first);
        }
        for &pid in pids {
            let status = process::wait(pid);
            if pid != last {
                continue;
            }
            self.status = status.map_or(1, Status::code);
            match status {
                Ok(Status::Killed(signal::SIGINT)) if self.interactive => println!(),
                Ok(Status::Killed(signal)) if self.interactive && signal != signal::SIGPIPE => {
                    println!("killed by signal {signal}");
                }
                _ => {}
            }
        }
        if self.interactive {
            let _ = sys::set_foreground(io::STDIN, sys::getpid());
        }
    }

    /// Runs a built-in command; `None` when the word is not one.
    fn builtin(&mut self, words: &[String]) -> Option<i32> {
        let word = |index: usize| words.get(index).map(String::as_str);
        Some(match word(0)? {
            "cd" => {
                let target = word(1).unwrap_or(self.home);
                match sys::chdir(&c_string(target)) {
                    Ok(()) => 0,
                    Err(error) => {
                        eprintln!("cd: {target}: {error}");
                        1
                    }
                }
            }
            "pwd" => {
                let mut buf = [0; 1024];
                match sys::getcwd(&mut buf) {
                    Ok(length) => println!("{}", ulib::text::lossy(&buf[..length.saturating_sub(1)])),
                    Err(error) => eprintln!("pwd: {error}"),
                }
                0
            }
            "echo" => {
                println!("{}", words[1..].join(" "));
                0
            }
            "exit" => sys::exit(word(1).and_then(|code| code.parse().ok()).unwrap_or(self.status)),
            "help" => {
                println!("{HELP}");
                0
            }
            "kill" => kill(&words[1..]),
            "wait" => {
                for pid in core::mem::take(&mut self.background) {
                    let _ = process::wait(pid);
                }
                0
            }
            "poweroff" => stop(sys::reboot_command::POWER_OFF),
            "reboot" => stop(sys::reboot_command::RESTART),
            _ => return None,
        })
    }
}

fn stop(command: usize) -> i32 {
    let error = sys::reboot(command);
    eprintln!("sh: {error}");
    1
}

fn kill(words: &[String]) -> i32 {
    let (number, pids) = match words.split_first() {
        Some((first, rest)) if first.starts_with('-') => (first[1..].parse().ok(), rest),
        _ => (Some(signal::SIGTERM), words),
    };
    let Some(number) = number else {
        eprintln!("kill: a signal is a number");
        return 2;
    };
    let mut status = 0;
    for word in pids {
        let result = word.parse().map_err(|_| Errno::EINVAL).and_then(|pid| sys::kill(pid, number));
        if let Err(error) = result {
            eprintln!("kill: {word}: {error}");
            status = 1;
        }
    }
    status
}

/// Makes `target` the given descriptor.
fn move_to(fd: Option<usize>, target: usize) {
    if let Some(fd) = fd
        && fd != target
    {
        let _ = sys::dup2(fd, target);
        let _ = sys::close(fd);
    }
}

/// A line of standard input without its end, byte by byte: what follows it belongs to the programs started.
fn read_line() -> sys::Result<Option<String>> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        match sys::read(io::STDIN, &mut byte)? {
            0 if line.is_empty() => return Ok(None),
            0 => break,
            _ if byte[0] == b'\n' => break,
            _ => line.push(byte[0]),
        }
    }
    Ok(Some(ulib::text::lossy(&line)))
}
