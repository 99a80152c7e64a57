//! A browser without a window, spoken to by its DevTools protocol through a pipe: messages of JSON, each ended by a NUL
//! (<https://chromedevtools.github.io/devtools-protocol/>).

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Longest wait for an answer: pressing everything in a report of all operations takes a minute, and more on a busy machine.
const LIMIT: Duration = Duration::from_secs(600);

/// The protocol uses descriptors 3 and 4 of the browser, and what it prints itself is of no use here.
const START: &str = "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";

/// A browser with one page.
pub struct Browser {
    child: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    events: VecDeque<Value>,
    number: u64,
    page: String,
    profile: PathBuf,
}

impl Browser {
    /// Starts it, with a profile of its own in a folder that goes with it, and opens an empty page.
    pub fn start(program: &Command, scratch: &Path) -> Result<Self> {
        let profile = scratch.join(format!("browser-{}", std::process::id()));
        std::fs::create_dir_all(&profile).with_context(|| format!("making {}", profile.display()))?;
        let mut command = Command::new("sh");
        command.args(["-c", START]).arg(program.get_program()).args(program.get_args());
        // The sandbox needs rights that neither root nor a container has; the page is our own, and has no network.
        command.args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ]);
        command.args([
            "--disable-extensions",
            "--disable-background-networking",
            "--disable-component-update",
        ]);
        // Pressing goes faster than any reader's, which a browser takes for an attack.
        command.arg("--disable-ipc-flooding-protection");
        command.args(["--disable-sync", "--hide-scrollbars", "--force-color-profile=srgb", "--lang=en-US"]);
        command.arg("--remote-debugging-pipe").arg(format!("--user-data-dir={}", profile.display()));
        command.arg("about:blank").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let mut child = command.spawn().context("starting the browser")?;
        let input = child.stdin.take().context("no pipe to the browser")?;
        let output = child.stdout.take().context("no pipe from the browser")?;
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            use std::io::BufRead;
            for message in std::io::BufReader::new(output).split(0).map_while(Result::ok) {
                let value = serde_json::from_slice(&message).unwrap_or(Value::Null);
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        let events = VecDeque::new();
        let mut browser = Self { child, input, messages, events, number: 0, page: String::new(), profile };
        let target = browser.ask("Target.createTarget", json!({"url": "about:blank"}))?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.ask("Target.attachToTarget", attach)?;
        browser.page = session["sessionId"].as_str().context("the browser opened no page")?.to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.ask(&format!("{domain}.enable"), json!({}))?;
        }
        Ok(browser)
    }

    /// Sends a request, and does not wait for its answer.
    fn send(&mut self, method: &str, parameters: Value) -> Result<()> {
        self.number += 1;
        let mut message = json!({"id": self.number, "method": method, "params": parameters});
        if !self.page.is_empty() {
            message["sessionId"] = json!(self.page);
        }
        write!(self.input, "{message}\0").and_then(|()| self.input.flush()).context("speaking to the browser")
    }

    /// Sends a request, and gives its answer.
    pub fn ask(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.send(method, parameters)?;
        let end = Instant::now() + LIMIT;
        loop {
            let message = self.next(end).with_context(|| format!("waiting for {method}"))?;
            if message["id"] == self.number {
                if let Some(error) = message.get("error") {
                    bail!("{method}: {error}");
                }
                return Ok(message["result"].clone());
            }
            self.events.push_back(message);
        }
    }

    fn next(&mut self, end: Instant) -> Result<Value> {
        match self.messages.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(message) => Ok(message),
            Err(RecvTimeoutError::Timeout) => bail!("the browser does not answer"),
            Err(RecvTimeoutError::Disconnected) => bail!("the browser has ended"),
        }
    }

    /// Waits for an event; those before it are kept.
    fn wait(&mut self, method: &str) -> Result<()> {
        let end = Instant::now() + LIMIT;
        loop {
            let message = self.next(end).with_context(|| format!("waiting for {method}"))?;
            let found = message["method"] == method;
            self.events.push_back(message);
            if found {
                return Ok(());
            }
        }
    }

    /// Opens a file, and waits until it is loaded.
    pub fn open(&mut self, address: &str) -> Result<()> {
        let answer = self.ask("Page.navigate", json!({"url": address}))?;
        if let Some(error) = answer["errorText"].as_str() {
            bail!("opening {address}: {error}");
        }
        self.wait("Page.loadEventFired")
    }

    /// Runs code in the page, waits for what it promises, and gives the value.
    pub fn run(&mut self, code: &str) -> Result<Value> {
        let parameters =
            json!({"expression": code, "awaitPromise": true, "returnByValue": true, "userGesture": true});
        let answer = self.ask("Runtime.evaluate", parameters)?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            bail!("in the page: {}", thrown["exception"]["description"].as_str().unwrap_or("an exception"));
        }
        Ok(answer["result"]["value"].clone())
    }

    /// All events so far; they are told once.
    pub fn events(&mut self) -> Vec<Value> {
        self.events.extend(self.messages.try_iter());
        self.events.drain(..).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may be gone already, or take the folder's files with it while it goes; one that hangs would never answer.
        self.page.clear();
        let _ = self.send("Browser.close", json!({}));
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end && !matches!(self.child.try_wait(), Ok(Some(_))) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}
