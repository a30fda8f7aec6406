//! Lines for a stream that may be slow, blocked, full or gone. Whoever says a line never waits for the stream: lines wait in a
//! bounded queue, and a thread of its own writes them.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender, SyncSender},
    },
    thread,
    time::Duration,
};

/// Bytes that may wait; a line that would make it more is dropped.
const CAPACITY: usize = 1 << 20;
/// How long the thread waits before it tries again to write to a stream that does not block and has no room.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(20);

/// Called on the thread that writes, once the stream takes lines again: how many lines were dropped since the last call.
type TellDropped = Box<dyn Fn(u64) + Send>;

/// The queue in front of a stream. Clones share it; the thread ends when the last of them is gone and all is written.
#[derive(Debug, Clone)]
pub struct Output {
    queue: Sender<Message>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Bytes in the queue.
    waiting: AtomicUsize,
    /// Lines that were not written, since the start.
    dropped: AtomicU64,
}

enum Message {
    Line(Vec<u8>),
    /// All lines before it have been written or dropped.
    Flush(SyncSender<()>),
}

impl Output {
    /// Starts the thread. `tell_dropped` is called on it, and may say a line here.
    pub fn new(stream: impl Write + Send + 'static, tell_dropped: impl Fn(u64) + Send + 'static) -> Self {
        let (queue, lines) = mpsc::channel();
        let counts = Arc::new(Counts::default());
        let writer = Writer {
            stream,
            counts: counts.clone(),
            tell_dropped: Box::new(tell_dropped),
            told: 0,
            is_torn: false,
        };
        // Without a thread there is nobody to tell that to: lines are dropped once the queue is full.
        drop(
            thread::Builder::new()
                .name("output".to_owned())
                .spawn(move || writer.run(&lines)),
        );
        Self { queue, counts }
    }

    /// Writes a line soon, or drops it when too much waits already. Never blocks and never fails.
    pub fn say(&self, line: Vec<u8>) {
        let size = line.len();
        let before = self.counts.waiting.fetch_add(size, Ordering::Relaxed);
        if before + size > CAPACITY || self.queue.send(Message::Line(line)).is_err() {
            self.counts.waiting.fetch_sub(size, Ordering::Relaxed);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was said has been written, at most for `limit`. False when it has not.
    pub fn flush(&self, limit: Duration) -> bool {
        let (flushed, is_flushed) = mpsc::sync_channel(1);
        self.queue.send(Message::Flush(flushed)).is_ok() && is_flushed.recv_timeout(limit).is_ok()
    }
}

struct Writer<W> {
    stream: W,
    counts: Arc<Counts>,
    tell_dropped: TellDropped,
    /// How many dropped lines were told of.
    told: u64,
    /// Whether the last line was cut off in the middle.
    is_torn: bool,
}

impl<W: Write> Writer<W> {
    fn run(mut self, queue: &Receiver<Message>) {
        for message in queue {
            match message {
                Message::Line(line) => {
                    let written = self.write(&line);
                    let waited = self.counts.waiting.fetch_sub(line.len(), Ordering::Relaxed);
                    match written {
                        Ok(()) if waited < CAPACITY / 2 => self.tell(),
                        Ok(()) => {}
                        Err(_) => {
                            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
                Message::Flush(flushed) => {
                    // Who waited may have gone.
                    let _ = flushed.try_send(());
                }
            }
        }
    }

    fn tell(&mut self) {
        let dropped = self.counts.dropped.load(Ordering::Relaxed);
        if dropped > self.told {
            (self.tell_dropped)(dropped - self.told);
            self.told = dropped;
        }
    }

    /// One call of `write` for a line, where the stream takes it whole: lines of several processes do not mix then.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.write_all(b"\n")?;
            self.is_torn = false;
        }
        self.write_all(line)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let error = match self.stream.write(rest) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    continue;
                }
                Err(error) => error,
            };
            if error.kind() == io::ErrorKind::WouldBlock {
                thread::sleep(NO_ROOM_PAUSE);
            } else if error.kind() != io::ErrorKind::Interrupted {
                self.is_torn |= rest.len() < bytes.len();
                return Err(error);
            }
        }
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests;
