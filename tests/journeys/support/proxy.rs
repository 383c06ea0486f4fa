//! A proxy between Lethe and a broker that reads Kafka's frames just enough to lose or delay the request or the answer of one kind.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often it looks whether to end.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A kind of request, by Kafka's own number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i16)]
pub enum Api {
    Produce = 0,
    InitProducerId = 22,
    AddPartitionsToTxn = 24,
    AddOffsetsToTxn = 25,
    EndTxn = 26,
    TxnOffsetCommit = 28,
}

/// What happens to it. A connection on which something was lost is cut; a new one goes through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meddle {
    /// The broker never hears of it.
    LoseRequest,
    /// The broker does it, and nobody is told.
    LoseAnswer,
    /// The broker does it, and is heard late.
    DelayAnswer(Duration),
}

struct Rule {
    api: Api,
    /// How many go through before.
    after: u64,
    what: Meddle,
}

#[derive(Default)]
struct Inner {
    target: AtomicU16,
    rules: Mutex<Vec<Rule>>,
    meddled: AtomicUsize,
    end: AtomicBool,
    /// Connections stand open and carry nothing.
    silent: AtomicBool,
    /// Both ends of every connection that was carried.
    live: Mutex<Vec<TcpStream>>,
}

/// The proxy; its connections end when it is dropped.
pub struct Proxy {
    port: u16,
    inner: Arc<Inner>,
}

impl Proxy {
    /// Listens on a free port of this machine.
    #[track_caller]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let port = listener.local_addr().expect("it is bound").port();
        let inner = Arc::new(Inner::default());
        let accepting = Arc::clone(&inner);
        std::thread::spawn(move || {
            while !accepting.end.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((client, _)) => accepting.carry(client),
                    Err(_) => std::thread::sleep(LOOK_EVERY),
                }
            }
        });
        Self { port, inner }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// To where connections are carried on.
    pub fn forward_to(&self, port: u16) {
        self.inner.target.store(port, Ordering::Relaxed);
    }

    /// Meddles with one request of this kind, once `after` of them have gone through.
    pub fn meddle(&self, api: Api, after: u64, what: Meddle) {
        self.inner.rules.lock().unwrap_or_else(PoisonError::into_inner).push(Rule { api, after, what });
    }

    /// Cuts every connection; new ones go through.
    pub fn cut(&self) {
        for stream in self.inner.live.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets connections stand and carries nothing on them, as a network does that loses every packet; or carries on.
    pub fn silence(&self, silent: bool) {
        self.inner.silent.store(silent, Ordering::Relaxed);
    }

    /// How many times it has meddled.
    pub fn meddled(&self) -> usize {
        self.inner.meddled.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.inner.end.store(true, Ordering::Relaxed);
    }
}

impl Inner {
    /// What to do with a request of this kind, if anything.
    fn rule(&self, api: i16) -> Option<Meddle> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let at = rules.iter().position(|rule| rule.api as i16 == api)?;
        if rules[at].after > 0 {
            rules[at].after -= 1;
            return None;
        }
        self.meddled.fetch_add(1, Ordering::Relaxed);
        Some(rules.remove(at).what)
    }

    fn wait_while_silent(&self) {
        while self.silent.load(Ordering::Relaxed) && !self.end.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Carries one connection, on two threads of its own.
    fn carry(self: &Arc<Self>, client: TcpStream) {
        let Ok(broker) = TcpStream::connect(("127.0.0.1", self.target.load(Ordering::Relaxed))) else { return };
        let both = (client.set_nonblocking(false), client.set_nodelay(true), broker.set_nodelay(true));
        let (Ok(from_client), Ok(from_broker), (Ok(()), Ok(()), Ok(()))) = (client.try_clone(), broker.try_clone(), both) else { return };
        self.live.lock().unwrap_or_else(PoisonError::into_inner).extend([&client, &broker].into_iter().filter_map(|s| s.try_clone().ok()));
        let awaited: Arc<Mutex<HashMap<[u8; 4], Meddle>>> = Arc::default();
        let (inner, other, asked) = (Arc::clone(self), Arc::clone(self), Arc::clone(&awaited));
        let to_broker = move |frame: &[u8]| {
            inner.wait_while_silent();
            // Kind of request, version, number of the question, …
            let (Some(api), Some(number)) = (number_of(frame, 0), frame.get(4..8)) else { return true };
            match inner.rule(api) {
                Some(Meddle::LoseRequest) => false,
                Some(what) => {
                    let number = number.try_into().expect("four bytes");
                    asked.lock().unwrap_or_else(PoisonError::into_inner).insert(number, what);
                    true
                }
                None => true,
            }
        };
        let to_client = move |frame: &[u8]| {
            other.wait_while_silent();
            let number: Option<[u8; 4]> = frame.get(0..4).and_then(|number| number.try_into().ok());
            let met = number.and_then(|number| awaited.lock().unwrap_or_else(PoisonError::into_inner).remove(&number));
            if let Some(Meddle::DelayAnswer(delay)) = met {
                std::thread::sleep(delay);
            }
            met != Some(Meddle::LoseAnswer)
        };
        std::thread::spawn(move || pump(from_client, broker, to_broker));
        std::thread::spawn(move || pump(from_broker, client, to_client));
    }
}

fn number_of(frame: &[u8], at: usize) -> Option<i16> {
    frame.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map(i16::from_be_bytes)
}

/// Carries frames until one end closes, or `pass` says no: then both ends are closed.
fn pump(mut from: TcpStream, mut to: TcpStream, pass: impl Fn(&[u8]) -> bool) {
    let mut carry = || -> std::io::Result<bool> {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        from.read_exact(&mut frame)?;
        if !pass(&frame) {
            return Ok(false);
        }
        to.write_all(&length)?;
        to.write_all(&frame)?;
        Ok(true)
    };
    while carry().unwrap_or(false) {}
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
